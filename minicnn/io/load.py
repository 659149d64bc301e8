"""Reading weights, whatever the format: decided by what is in the file, not by its name."""

import os
from pathlib import Path

from minicnn.errors import CheckpointError
from minicnn.io.archive import open_archive
from minicnn.io.deep_compression import is_deep_compression, read_deep_compression
from minicnn.io.npz import read_npz
from minicnn.io.safetensors import read_safetensors
from minicnn.io.torch_file import LEGACY_MAGIC, read_legacy, read_zip

__all__ = ["load_weights"]

_EXPECTED = ("expected are weights as torch.save writes them (.pth, .pt, .th), .safetensors, .npz, or SqueezeNet's "
             "Deep Compression .net")
_HEAD_BYTES = 512
_LEGACY_MARK = LEGACY_MAGIC.to_bytes(10, "little")

# What is found instead of weights, and what to do about it
_OTHER_FILES = [
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x93NUMPY", "a single NumPy array (.npy), which has no name; save a dictionary with numpy.savez"),
    (b"\x89HDF", "an HDF5 file (Keras?); convert it to .safetensors first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"\x80", "a pickle that torch.save did not write; save model.state_dict() with torch.save"),
]


def load_weights(path):
    """{name: array} from a file of weights, in the file's order.

    Reads torch.save's files (zip and legacy), .safetensors, .npz and SqueezeNet's Deep Compression .net. Nothing in the
    file is run: pickles go through a reader that builds data only. A checkpoint is unwrapped to its state_dict (under
    "state_dict", "model_state_dict", "model" or "net"), and DataParallel's prefix "module." is dropped when all names
    have it. Arrays are contiguous, native, writable and share no memory; float16 and bfloat16 become float32.

    Raises CheckpointError, which says what was found, for anything missing, damaged, hostile, or not weights.
    """
    try:
        arrays = _read(Path(path))
        if not arrays:
            raise CheckpointError("the file holds no arrays; save a state_dict that is not empty")
    except (CheckpointError, OSError) as error:
        raise CheckpointError(f"load_weights: {path}: {error}") from error
    return _without_prefix(arrays)


def _read(path):
    if path.is_dir():
        raise CheckpointError(f"found a folder; {_EXPECTED}; name a file in it")
    if not path.is_file():
        raise CheckpointError("found a device or pipe; name a file" if path.exists() else
                              "there is no such file; check the path")
    with open(path, "rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD_BYTES)
        if head.startswith(b"PK\x03\x04"):
            return _read_archive(file, file_bytes)
        if head.startswith(b"\x80") and _LEGACY_MARK in head[:32]:
            return read_legacy(file, file_bytes)
        if head[8:9] == b"{":
            return read_safetensors(file, file_bytes)[0]
        if is_deep_compression(head, file_bytes):
            return read_deep_compression(file)
    raise CheckpointError(f"found {_describe(head)}; {_EXPECTED}; check the download, or convert the file")


def _read_archive(file, file_bytes):
    with open_archive(file, file_bytes) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            return read_zip(archive, file_bytes)
        if all(name.endswith(".npy") for name in names):
            return read_npz(archive, file_bytes)
    listed = ", ".join(name[:40] for name in names[:3])
    raise CheckpointError(f"found a zip archive of {len(names)} entries ({listed}) without weights; {_EXPECTED}; "
                          "unpack it and name the file of weights")


def _describe(head):
    """What the first bytes say the file is, in words."""
    if not head:
        return "an empty file"
    for mark, description in _OTHER_FILES:
        if head.startswith(mark):
            return description
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it, or save the file again with a current PyTorch"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the file it links to"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return f"text ({head[:40].decode(errors='replace')!r})"
    return f"unknown data (first bytes {head[:8].hex(' ')})"


def _without_prefix(arrays, prefix="module."):
    if all(name.startswith(prefix) for name in arrays):
        return {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays
