"""The two containers of torch.save: the zip archive (since PyTorch 1.6) and the legacy stream of pickles and storages.

Both hold a pickle, which describes tensors as views of numbered storages, and the raw storages. Source:
torch/serialization.py (_save, _legacy_save) and torch/csrc/generic/StorageMethods (writeFileRaw).
"""

import struct
from collections import Counter

import numpy as np

from minicnn.errors import CheckpointError
from minicnn.io.archive import read_entry
from minicnn.io.arrays import ITEM_BYTES, check_total_bytes, decode, read_bytes
from minicnn.io.restricted_pickle import IGNORED, MAX_PICKLE_BYTES, PickleReader
from minicnn.io.torch_objects import ALLOWED, StorageTable, TensorView

__all__ = ["LEGACY_MAGIC", "read_legacy", "read_zip"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Where training scripts put the state_dict: PyTorch's examples and tutorials, torchvision, pytorch-cifar
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_zip(archive, file_bytes):
    """{name: array} from an opened zip archive of torch.save."""
    names = set(archive.namelist())
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"the archive holds {len(pickles)} data.pkl; torch.save writes one")
    folder = pickles[0].removesuffix("data.pkl")
    if folder + "constants.pkl" in names:
        raise CheckpointError("this is a TorchScript program, not weights; save its state_dict() with torch.save")
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(f"data.pkl is longer than {MAX_PICKLE_BYTES:,} bytes; save only model.state_dict()")
    table = StorageTable()
    reader = PickleReader(read_entry(archive, pickles[0]).tobytes(), ALLOWED, table.load, (TensorView,))
    tensors = find_state_dict(reader.load())
    byteorder = _byteorder(archive, folder + "byteorder")

    def read_storage(storage):
        name = f"{folder}data/{storage.key}"
        if name not in names:
            raise CheckpointError(f"the storage {storage.key[:40]!r} is missing; download or copy the file again")
        raw = read_entry(archive, name)
        if len(raw) != _storage_bytes(storage):
            raise CheckpointError(f"the storage {storage.key[:40]!r} holds {len(raw):,} bytes, but {storage.numel:,} "
                                  f"numbers of {storage.dtype} are declared; the file is damaged")
        return decode(raw, storage.dtype, byteorder)

    return _build_arrays(tensors, read_storage, file_bytes)


def _byteorder(archive, name):
    if name not in archive.namelist():  # PyTorch before 2.1; big-endian machines were rare then too
        return "<"
    orders = {b"little": "<", b"big": ">"}
    order = read_entry(archive, name).tobytes()
    if order not in orders:
        raise CheckpointError(f"the byte order is {order[:20]!r}; it must be 'little' or 'big'")
    return orders[order]


def read_legacy(file, file_bytes):
    """{name: array} from an open file in the format of torch.save before PyTorch 1.6.

    Its storages are little endian on every machine (writeFileRaw converts), whatever sys_info.little_endian says.
    """
    file.seek(0)
    table = StorageTable()
    reader = PickleReader(file.read(MAX_PICKLE_BYTES), ALLOWED, table.load, (TensorView,))
    if reader.load() != LEGACY_MAGIC:
        raise CheckpointError("the file does not begin with torch.save's magic number; it is damaged")
    protocol = reader.load()
    if protocol != _LEGACY_PROTOCOL:
        raise CheckpointError(f"the protocol is {str(protocol)[:20]}, not {_LEGACY_PROTOCOL}; save the file again with "
                              "a current PyTorch")
    reader.load()   # sys_info: the sizes of C types, of no effect on what follows
    tensors = find_state_dict(reader.load())
    starts = _legacy_storages(file, file_bytes, reader.load(), reader.position, table.declared)

    def read_storage(storage):
        file.seek(starts[storage.key])
        return decode(read_bytes(file, _storage_bytes(storage)), storage.dtype)

    return _build_arrays(tensors, read_storage, file_bytes)


def _legacy_storages(file, file_bytes, keys, position, declared):
    """Where each storage's numbers begin: after the keys, each storage is an int64 count and its numbers."""
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) < len(keys):
        raise CheckpointError("the list of storage keys is not a list of different names; the file is damaged")
    if set(keys) != set(declared):
        raise CheckpointError(f"{len(declared)} storages are declared and {len(keys)} listed, not the same ones; "
                              "the file is damaged")
    starts = {}
    for key in keys:
        dtype, numel = declared[key]
        file.seek(position)
        count = file.read(8)
        end = position + 8 + numel * ITEM_BYTES[dtype]
        if len(count) < 8 or end > file_bytes:
            raise CheckpointError(f"truncated: the storage {key[:40]!r} should end at byte {end:,} and the file has "
                                  f"{file_bytes:,}; download or copy it again")
        if struct.unpack("<q", count)[0] != numel:
            raise CheckpointError(f"the storage {key[:40]!r} holds {struct.unpack('<q', count)[0]:,} numbers, but "
                                  f"{numel:,} are declared; the file is damaged")
        starts[key] = position + 8
        position = end
    if position != file_bytes:
        raise CheckpointError(f"{file_bytes - position:,} bytes follow the last storage; the file is damaged or holds "
                              "more than one object")
    return starts


def _storage_bytes(storage):
    return storage.numel * ITEM_BYTES[storage.dtype]


def find_state_dict(saved):
    """The {name: TensorView} in what was saved: the dictionary itself, or the one that a training script put in it."""
    if type(saved) is not dict:
        raise CheckpointError(f"found a saved {_describe(saved)}, not a dictionary of tensors; save model.state_dict()")
    candidates = [saved[key] for key in _WRAPPERS if type(saved.get(key)) is dict] + [saved]
    for candidate in candidates:
        tensors = {key: value for key, value in candidate.items() if type(value) is TensorView and type(key) is str}
        if tensors:
            return tensors
    keys = ", ".join(str(key)[:40] for key in list(saved)[:5])
    raise CheckpointError(f"no tensors in the saved dictionary (it has {len(saved)} keys: {keys}); save "
                          "model.state_dict(), alone or as 'state_dict'")


def _describe(value):
    return {TensorView: "tensor", type(IGNORED): "object"}.get(type(value), type(value).__name__)


def _build_arrays(tensors, read_storage, file_bytes):
    """Reads each storage once and copies each tensor's view out of it, so that no two arrays share memory."""
    check_total_bytes(sum(tensor.numel * max(4, ITEM_BYTES[tensor.storage.dtype]) for tensor in tensors.values()),
                      file_bytes)
    users = Counter(tensor.storage.key for tensor in tensors.values())
    shared, arrays = {}, {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        block = shared[key] if key in shared else read_storage(tensor.storage)
        if users[key] > 1:
            shared[key] = block
        arrays[name] = _take_view(block, tensor, must_copy=users[key] > 1)
    return arrays


def _take_view(block, tensor, must_copy):
    start = tensor.storage.start + tensor.offset
    # The stride of a dimension of size 1 is never used and may be anything
    strides = [stride * block.itemsize if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.strides)]
    view = np.lib.stride_tricks.as_strided(block[start:], tensor.shape, strides)
    if must_copy or view.size < block.size:     # a small view would keep the whole storage in memory
        return view.copy()
    return np.require(view, requirements=["C", "W"])
