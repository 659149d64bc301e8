"""The safetensors format: an 8-byte length, a JSON header (name -> dtype, shape, range), the raw little-endian arrays.

Writing is the safetensors library's. Reading is here, so that bfloat16 can be read too, duplicates are noticed, and
every error says what is wrong. Format: https://github.com/huggingface/safetensors#format
"""

import json
import os
from math import prod
from pathlib import Path

import numpy as np

from minicnn.errors import CheckpointError
from minicnn.io.arrays import ITEM_BYTES, decode, read_bytes
from minicnn.io.atomic import atomic_write

__all__ = ["load_safetensors", "read_safetensors", "save_weights"]

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool",
           "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
           "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64"}
_MAX_HEADER_BYTES = 8 * 2**20   # room for about 80,000 tensors; JSON can need 20 times its size in memory
_METADATA = "__metadata__"


def save_weights(path, state_dict, metadata=None):
    """Writes {name: array} as a .safetensors file, atomically: a failure leaves what was at `path`.

    state_dict: arrays, or objects whose `.data` is one (tensors, parameters); real numbers or booleans of any shape.
    metadata: optional {str: str}, kept in the header.
    Raises CheckpointError for names or values that the format cannot hold, and if the file cannot be written.
    """
    arrays = {name: _checked_array(name, value) for name, value in state_dict.items()}
    for item in (metadata or {}).items():
        if not all(type(text) is str for text in item):
            raise CheckpointError(f"save_weights: metadata {item!r} is not a pair of str; convert it with json.dumps")
    import safetensors.numpy
    content = safetensors.numpy.save(arrays, metadata=metadata)
    with atomic_write(path) as file:
        file.write(content)


def _checked_array(name, value):
    if type(name) is not str or name == _METADATA:
        raise CheckpointError(f"save_weights: the name {name!r} must be a str other than {_METADATA!r}; rename it")
    array = value if isinstance(value, np.ndarray | np.generic) else getattr(value, "data", None)
    if not isinstance(array, np.ndarray | np.generic):
        raise CheckpointError(f"save_weights: {name!r} is a {type(value).__name__}, not an array or a tensor; "
                              "convert it with numpy.asarray")
    if array.dtype.name not in ITEM_BYTES:
        raise CheckpointError(f"save_weights: {name!r} has the dtype {array.dtype}; real numbers or booleans can be "
                              "saved; convert it with .astype")
    return np.asarray(array, order="C")


def load_safetensors(path):
    """({name: array}, metadata) of a .safetensors file; float16 and bfloat16 become float32.

    Raises CheckpointError if the file is missing, damaged, or holds a dtype that NumPy has no counterpart for.
    """
    try:
        if not Path(path).is_file():
            raise CheckpointError("there is no such file; check the path")
        with open(path, "rb") as file:
            return read_safetensors(file, os.fstat(file.fileno()).st_size)
    except (CheckpointError, OSError) as error:
        raise CheckpointError(f"load_safetensors: {path}: {error}") from error


def read_safetensors(file, file_bytes):
    """({name: array}, metadata) from an open file of `file_bytes` bytes."""
    file.seek(0)
    header_bytes = int.from_bytes(file.read(8), "little")
    if file_bytes < 8 or header_bytes > file_bytes - 8:
        raise CheckpointError(f"the header should have {header_bytes:,} bytes and the file has {file_bytes:,}; this is "
                              "not a safetensors file, or a truncated one")
    if header_bytes > _MAX_HEADER_BYTES:
        raise CheckpointError(f"the header has {header_bytes:,} bytes, more than {_MAX_HEADER_BYTES:,}; "
                              "this is not a file of weights")
    header = _parse_header(file.read(header_bytes))
    metadata = header.pop(_METADATA, {})
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise CheckpointError("the metadata is not a dictionary of str; the file is damaged")
    entries = [_check_entry(name, entry) for name, entry in header.items()]
    _check_cover(entries, file_bytes - 8 - header_bytes)
    arrays = {}
    for name, dtype, shape, (begin, end) in entries:
        file.seek(8 + header_bytes + begin)
        arrays[name] = decode(read_bytes(file, end - begin), dtype).reshape(shape)
    return arrays, metadata


def _parse_header(text):
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the header is not JSON ({str(error)[:80]}); the file is damaged") from error
    if type(header) is not dict:
        raise CheckpointError("the header is not a JSON object; the file is damaged")
    return header


def _unique(pairs):
    result = dict(pairs)
    if len(result) < len(pairs):
        seen = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise CheckpointError(f"duplicate name {twice[:80]!r} in the header; the file is damaged or forged")
    return result


def _check_entry(name, entry):
    """(name, dtype, shape, (begin, end)), checked one against the other."""
    label = f"the array {name[:80]!r}"
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{label} is not described by dtype, shape and data_offsets; the file is damaged")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(code) is not str or code not in _DTYPES:
        raise CheckpointError(f"{label} has the dtype {str(code)[:20]}; those read are {', '.join(_DTYPES)}; "
                              "convert it")
    if not _are_counts(shape, 32) or not _are_counts(offsets, 2) or len(offsets) != 2:
        raise CheckpointError(f"{label} has the shape {str(shape)[:40]} and the range {str(offsets)[:40]}; "
                              "the file is damaged")
    dtype = _DTYPES[code]
    if prod(shape) * ITEM_BYTES[dtype] != offsets[1] - offsets[0]:
        raise CheckpointError(f"{label} of shape {shape} and dtype {code} needs {prod(shape) * ITEM_BYTES[dtype]:,} "
                              f"bytes and has {offsets[1] - offsets[0]:,}; the file is damaged")
    return name, dtype, shape, offsets


def _are_counts(numbers, most):
    return (type(numbers) is list and len(numbers) <= most
            and all(type(number) is int and 0 <= number < 2**48 for number in numbers))


def _check_cover(entries, data_bytes):
    """The ranges must follow each other without hole or overlap, to the end of the file."""
    position = 0
    for name, _, _, (begin, end) in sorted(entries, key=lambda entry: entry[3]):
        if begin != position:
            raise CheckpointError(f"the array {name[:80]!r} begins at byte {begin:,} of the data instead of "
                                  f"{position:,}; the file is damaged")
        position = end
    if position != data_bytes:
        raise CheckpointError(f"the arrays take {position:,} bytes and the file has {data_bytes:,} for them; "
                              "it is truncated or has bytes too many; download or copy it again")
