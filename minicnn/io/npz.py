"""NumPy's .npz: a zip archive of .npy entries. Object arrays, which are pickles, are refused.

Format: numpy/lib/_format_impl.py (NEP 1).
"""

import ast

import numpy as np

from minicnn.errors import CheckpointError
from minicnn.io.archive import read_entry
from minicnn.io.arrays import ITEM_BYTES, check_total_bytes, decode

__all__ = ["read_npz"]

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4}    # major version -> bytes of the header's length
_MAX_HEADER_BYTES = 10_000      # NumPy's own limit for a header that a file may bring to ast.literal_eval


def read_npz(archive, file_bytes):
    """{name: array} from an opened zip archive of numpy.savez or savez_compressed."""
    entries = archive.infolist()
    check_total_bytes(2 * sum(entry.file_size for entry in entries), file_bytes)    # float16 doubles
    return {entry.filename.removesuffix(".npy"): _read_npy(archive, entry.filename) for entry in entries}


def _read_npy(archive, name):
    raw = read_entry(archive, name)
    label = f"the array {name[:80]!r}"
    dtype, fortran_order, shape, start = _read_header(raw[:_MAX_HEADER_BYTES + 12].tobytes(), label)
    if dtype.name not in ITEM_BYTES:
        raise CheckpointError(f"{label} has the dtype {str(dtype)[:40]}; only real numbers and booleans are weights, "
                              "and object arrays could run code; save numeric arrays")
    count = int(np.prod(shape, dtype=object))
    if count * dtype.itemsize != len(raw) - start:
        raise CheckpointError(f"{label} of shape {shape} and dtype {dtype} needs {count * dtype.itemsize:,} bytes and "
                              f"has {len(raw) - start:,}; the file is damaged")
    flat = decode(raw[start:], dtype.name, ">" if dtype.str[0] == ">" else "<")
    return np.ascontiguousarray(flat.reshape(shape, order="F" if fortran_order else "C")).reshape(shape)


def _read_header(head, label):
    """(dtype, fortran_order, shape, where the numbers begin) of an .npy entry."""
    length_bytes = _LENGTH_BYTES.get(head[6]) if head.startswith(_MAGIC) and len(head) >= 12 else None
    if length_bytes is None:
        raise CheckpointError(f"{label} is not in NumPy's format 1.0 or 2.0; save numeric arrays with numpy.savez")
    start = 8 + length_bytes
    end = start + int.from_bytes(head[8:start], "little")
    if end > len(head):
        raise CheckpointError(f"{label} has a header of {end - start:,} bytes; it is truncated or longer than "
                              f"{_MAX_HEADER_BYTES:,}")
    try:
        header = ast.literal_eval(head[start:end].decode("latin-1"))
        descr, fortran_order, shape = (header[key] for key in ("descr", "fortran_order", "shape"))
        dtype = np.dtype(descr) if type(descr) is str else None
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise CheckpointError(f"{label} has a header that cannot be read ({str(error)[:80]}); the file is damaged"
                              ) from error
    return _checked(dtype, label), bool(fortran_order), _checked_shape(shape, label), end


def _checked(dtype, label):
    if dtype is None:
        raise CheckpointError(f"{label} is a structured array; save numeric arrays")
    return dtype


def _checked_shape(shape, label):
    if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise CheckpointError(f"{label} has the shape {str(shape)[:40]}, which is not one; the file is damaged")
    return shape
