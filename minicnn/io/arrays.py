"""From the bytes of a file to arrays: the number types all weight formats share, and the limits all readers keep."""

import numpy as np

from minicnn.errors import CheckpointError

__all__ = ["ITEM_BYTES", "check_total_bytes", "decode", "read_bytes"]

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, "bool": 1,
              "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8}

# What a small file may unfold to. Beyond it a file may grow by 8: two for float16 to float32, the rest for tied weights
# and for compression, which makes real weights (even nine tenths zeros) no more than about 8 times smaller.
_FREE_BYTES = 64 * 2**20
_GROWTH = 8


def check_total_bytes(total_bytes, file_bytes):
    """Refuses files that unfold to far more than they hold (zip bombs, huge broadcast tensors)."""
    limit = _FREE_BYTES + _GROWTH * file_bytes
    if total_bytes > limit:
        raise CheckpointError(f"its arrays claim {total_bytes:,} bytes, more than {limit:,}, which is the most that a "
                              f"file of {file_bytes:,} bytes may unfold to; save dense, uncompressed arrays")


def read_bytes(file, count):
    """The next `count` bytes of an open binary file as a new uint8 array; CheckpointError if there are fewer."""
    raw = np.empty(count, np.uint8)
    unread = memoryview(raw)
    while len(unread):
        got = file.readinto(unread[:2**24])  # in pieces, so that a zip entry is not buffered a second time
        if not got:
            raise CheckpointError(f"truncated: {count - len(unread):,} of {count:,} bytes are there; "
                                  "download or copy the file again")
        unread = unread[got:]
    return raw


def decode(raw, dtype, byteorder="<"):
    """The numbers in `raw` (uint8, whole items) as a flat native array; every bit pattern, NaN payloads too, is kept.

    dtype: a key of ITEM_BYTES. float16 and bfloat16 become float32, which holds each of their values exactly.
    byteorder: "<" or ">".
    """
    if dtype == "bool":
        return raw != 0
    if dtype == "bfloat16":  # the upper half of a float32
        return (raw.view(byteorder + "u2").astype(np.uint32) << 16).view(np.float32)
    stored = raw.view(np.dtype(dtype).newbyteorder(byteorder))
    if dtype == "float16":
        with np.errstate(invalid="ignore"):  # a signalling NaN is data here
            return stored.astype(np.float32)
    native = stored.astype(dtype, copy=False).view(dtype)   # the view spells "<f4" as plain float32
    return np.require(native, requirements=["A", "W"])
