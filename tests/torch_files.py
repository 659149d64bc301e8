"""Torch files made byte by byte, so that the tests need no torch: Python's pickler with stand-ins for its classes."""

import io
import pickle
import zipfile
from dataclasses import dataclass

import numpy as np

DTYPES = {"float16": "HalfStorage", "bfloat16": "BFloat16Storage", "float32": "FloatStorage",
          "float64": "DoubleStorage", "int8": "CharStorage", "int16": "ShortStorage", "int32": "IntStorage",
          "int64": "LongStorage", "uint8": "ByteStorage", "bool": "BoolStorage"}


@dataclass(frozen=True)
class Name:
    """A global: pickled as `GLOBAL module name`, without an import."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """Pickled as `function(*arguments)`, with a state to BUILD if there is one."""

    function: Name
    arguments: tuple
    state: object = None


@dataclass(frozen=True)
class Storage:
    """Pickled as a persistent id. `content`: its bytes in the file."""

    key: str
    dtype: str
    numel: object
    content: bytes
    view: tuple | None = None
    module: str = "torch"


class TorchPickler(pickle._Pickler):
    dispatch = dict(pickle._Pickler.dispatch)

    def __init__(self, file, protocol, legacy):
        super().__init__(file, protocol)
        self.legacy = legacy
        self.storages = {}

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value
        description = ("storage", Name(value.module, DTYPES[value.dtype]), value.key, "cpu", value.numel)
        return (*description, value.view) if self.legacy else description

    def save_name(self, value):
        if self.proto >= 4:
            self.save(value.module)
            self.save(value.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

    def save_call(self, value):
        self.save(value.function)
        self.save(value.arguments)
        self.write(pickle.REDUCE)
        if value.state is not None:
            self.save(value.state)
            self.write(pickle.BUILD)

    dispatch[Name] = save_name
    dispatch[Call] = save_call


def storage(array, key="0", dtype=None, byteorder="<"):
    array = np.asarray(array)
    content = array.astype(array.dtype.newbyteorder(byteorder)).tobytes()
    return Storage(key, dtype or array.dtype.name, array.size, content)


def rebuild(block, offset, shape, strides):
    return Call(Name("torch._utils", "_rebuild_tensor_v2"),
                (block, offset, shape, strides, False, Call(Name("collections", "OrderedDict"), ())))


def tensor(array, key="0", byteorder="<"):
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return rebuild(storage(array, key, byteorder=byteorder), 0, array.shape, strides)


def tensors(arrays):
    return {name: tensor(array, str(i)) for i, (name, array) in enumerate(arrays.items())}


def pickled(value, legacy=False, protocol=2):
    file = io.BytesIO()
    pickler = TorchPickler(file, protocol, legacy)
    pickler.dump(value)
    return file.getvalue(), pickler.storages


def zip_bytes(entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def zip_file(value, byteorder=b"little", protocol=2, pickle_bytes=None, compression=zipfile.ZIP_STORED):
    """A file as torch.save has written it since 1.6."""
    data, storages = pickled(value, protocol=protocol)
    entries = [("archive/data.pkl", data if pickle_bytes is None else pickle_bytes)]
    if byteorder is not None:
        entries.append(("archive/byteorder", byteorder))
    entries += [(f"archive/data/{key}", block.content) for key, block in storages.items()]
    return zip_bytes([*entries, ("archive/version", b"3\n")], compression)


def legacy_file(value, protocol=2, magic=0x1950A86A20F9469CFC6C, version=1001, little_endian=True, count_order="little",
                pickle_bytes=None, keys=None):
    """A file as torch.save wrote it before 1.6."""
    sys_info = {"protocol_version": 1001, "little_endian": little_endian,
                "type_sizes": {"short": 2, "int": 4, "long": 4}}
    data, storages = pickled(value, legacy=True, protocol=protocol)
    parts = [pickle.dumps(part, protocol) for part in (magic, version, sys_info)]
    parts += [data if pickle_bytes is None else pickle_bytes, pickle.dumps(keys or sorted(storages), protocol)]
    for key in sorted(storages):
        parts += [storages[key].numel.to_bytes(8, count_order), storages[key].content]
    return b"".join(parts)
