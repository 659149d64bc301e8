"""What the pickle of a torch file may name, and what stands for it here: descriptions of tensors, never code.

The names and argument orders are those of torch/_utils.py and torch/serialization.py.
"""

from dataclasses import dataclass
from math import prod

from minicnn.errors import CheckpointError
from minicnn.io.restricted_pickle import IGNORED, Global, add_items

__all__ = ["ALLOWED", "Storage", "StorageTable", "TensorView"]

_MAX_DIMENSIONS = 32
_MAX_ELEMENTS = 2**40
_STORAGE_DTYPES = {"HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32",
                   "DoubleStorage": "float64", "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32",
                   "LongStorage": "int64", "ByteStorage": "uint8", "BoolStorage": "bool"}


@dataclass(frozen=True, slots=True)
class Storage:
    """The memory block `key` of `numel` numbers, and the part [start, start + length) of it that is meant."""

    key: str
    dtype: str
    numel: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor as torch writes it: shape, strides and offset, in elements, into a storage."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    @property
    def numel(self):
        return prod(self.shape)


class StorageTable:
    """The storages that the pickle declares; each key has one dtype and one size."""

    def __init__(self):
        self.declared = {}      # key -> (dtype, numel)

    def load(self, description):
        """Answers BINPERSID: ("storage", type, key, location, numel[, (view key, start, length) or None])."""
        if type(description) is not tuple or len(description) not in (5, 6) or description[0] != "storage":
            raise CheckpointError("a storage is not described as torch.save does; the file is damaged")
        kind, key, numel = description[1], description[2], description[4]
        if type(kind) is not Global or kind.dtype is None or type(key) is not str or not _is_count(numel):
            raise CheckpointError("a storage has no type, key or size; the file is damaged")
        if self.declared.setdefault(key, (kind.dtype, numel)) != (kind.dtype, numel):
            raise CheckpointError(f"storage {key[:40]!r} is declared twice, differently; the file is damaged")
        view = description[5] if len(description) == 6 else None
        start, length = _view_range(view, numel)
        return Storage(key, kind.dtype, numel, start, length)


def _view_range(view, numel):
    if view is None:
        return 0, numel
    if type(view) is not tuple or len(view) != 3 or not _is_count(view[1]) or not _is_count(view[2]):
        raise CheckpointError("a storage's view is not (key, start, length); the file is damaged")
    _, start, length = view
    if start + length > numel:
        raise CheckpointError(f"a view of elements {start} to {start + length} leaves its storage of {numel}; "
                              "the file is damaged")
    return start, length


def _is_count(value):
    return type(value) is int and value >= 0


def _rebuild_tensor(*arguments):
    """(storage, offset, size, stride, …): what follows (requires_grad, hooks, metadata) weights do not need."""
    if len(arguments) < 4 or type(arguments[0]) is not Storage:
        raise CheckpointError("a tensor is not described as torch.save does; the file is damaged")
    storage, offset, shape, strides = arguments[:4]
    for numbers in (shape, strides):
        if type(numbers) is not tuple or len(numbers) > _MAX_DIMENSIONS or not all(map(_is_count, numbers)):
            raise CheckpointError(f"a tensor's size or stride is not a tuple of at most {_MAX_DIMENSIONS} non-negative "
                                  "integers; the file is damaged")
    if not _is_count(offset) or len(shape) != len(strides):
        raise CheckpointError(f"a tensor has {len(shape)} sizes, {len(strides)} strides and the offset "
                              f"{str(offset)[:20]}; the file is damaged")
    _check_extent(storage, offset, shape, strides)
    return TensorView(storage, offset, shape, strides)


def _check_extent(storage, offset, shape, strides):
    if prod(max(size, 1) for size in shape) > _MAX_ELEMENTS:
        raise CheckpointError(f"a tensor of {len(shape)} dimensions has over {_MAX_ELEMENTS:,} elements; "
                              "the file is damaged")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    end = offset if 0 in shape else last + 1
    if end > storage.length:
        raise CheckpointError(f"a tensor of shape {shape} reaches element {_short(end)} of a storage of "
                              f"{storage.length}; the file is damaged")


def _short(number):
    return f"{number:,}" if number < 10**18 else "over 10^18"


def _ordered_dict(*arguments):
    """OrderedDict() or, as Python 2 wrote it, OrderedDict([[key, value], ...])."""
    pairs = arguments[0] if arguments else []
    are_pairs = type(pairs) is list and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs)
    if len(arguments) > 1 or not are_pairs:
        raise CheckpointError("an OrderedDict is not made from pairs; the file is damaged")
    result = {}
    add_items(result, pairs)
    return result


def _parameter(*arguments):
    """Parameter(data, …) and _rebuild_parameter(data, requires_grad, hooks): the tensor alone."""
    if not arguments or type(arguments[0]) is not TensorView:
        raise CheckpointError("a parameter has no tensor; the file is damaged")
    return arguments[0]


def _size(*arguments):
    if len(arguments) != 1 or type(arguments[0]) not in (tuple, list):
        raise CheckpointError("a torch.Size is not made from a tuple; the file is damaged")
    return tuple(arguments[0])


def _ignore(*arguments):
    return IGNORED


# What training scripts save around the weights, and numpy's way to write a number (`best_acc`)
_IGNORED_NAMES = ("argparse Namespace", "collections Counter", "collections defaultdict", "torch device",
                  "numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy dtype", "_codecs encode")

_DTYPE_NAMES = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")


def _allowed():
    functions = {
        "collections OrderedDict": _ordered_dict,
        "torch Size": _size,
        "torch._utils _rebuild_tensor": _rebuild_tensor,
        "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils _rebuild_parameter": _parameter,
        "torch._utils _rebuild_parameter_with_state": _parameter,
        "torch.nn.parameter Parameter": _parameter,
        **dict.fromkeys(_IGNORED_NAMES, _ignore),
    }
    table = {name: Global(name, build) for name, build in functions.items()}
    # A dtype or a type that is only mentioned, such as defaultdict(list), is never called
    for name in (*(f"torch {dtype}" for dtype in _DTYPE_NAMES), "builtins list", "builtins dict", "builtins int"):
        table[name] = Global(name)
    for storage, dtype in _STORAGE_DTYPES.items():
        for module in ("torch", "torch.cuda"):
            table[f"{module} {storage}"] = Global(f"{module} {storage}", dtype=dtype)
    return table


ALLOWED = _allowed()
