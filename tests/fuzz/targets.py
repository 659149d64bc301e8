"""One fuzz target for each reader of files: target(content: bytes) feeds it bytes and lets its own errors pass.

Whatever else a reader raises, a crash, or more than SECONDS of processor time for one input is a finding. Containers with
checksums are built here around the fuzzed bytes, since no mutation would get past a checksum.
"""

import contextlib
import functools
import gzip
import json
import os
import runpy
import struct
import tempfile
import time
from pathlib import Path

from torch_files import zip_bytes

from minicnn.data import available_splits, open_dataset
from minicnn.data.decode import decode_image
from minicnn.errors import CheckpointError, DataError
from minicnn.io import load_weights, save_weights
from minicnn.io.deep_compression import _file_bytes
from minicnn.training import checkpoint as checkpoints
from minicnn.training.session import Configuration
from minicnn.training.trained import read_trained

SECONDS = 2.0
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None      # thousands of small files a second
_folder = tempfile.TemporaryDirectory(prefix="minicnn-fuzz-", dir=_MEMORY)


class TooSlow(Exception):
    """A reader took more than SECONDS of processor time."""


def run(target, content):
    """One input through one target; raises what is a finding."""
    start = time.process_time()
    target(content)
    if time.process_time() - start > SECONDS:
        raise TooSlow(f"{target.__name__}: {time.process_time() - start:.1f} s for {len(content):,} bytes")


def _path(name, content):
    path = Path(_folder.name, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def _weights(content):
    with contextlib.suppress(CheckpointError):
        load_weights(_path("weights", content))


def torch_zip(content):
    """The pickle of a torch archive, beside storages of 16 and 64 bytes."""
    _weights(zip_bytes([("a/data.pkl", content), ("a/byteorder", b"little"), ("a/data/0", bytes(16)), ("a/data/1", bytes(64))]))


def torch_legacy(content):
    """The stream that torch.save wrote before 1.6."""
    _weights(content)


def archive(content):
    """A zip archive as it is, torch's or NumPy's."""
    _weights(content)


def npz(content):
    """One entry of an .npz."""
    _weights(zip_bytes([("a.npy", content)]))


def safetensors(content):
    """A safetensors file: up to the first 0 byte its header, whose length is put before it, then its arrays."""
    header = content.partition(b"\0")[0]
    _weights(struct.pack("<Q", len(header)) + content.replace(b"\0", b"", 1))


def deep_compression(content):
    """A Deep Compression file: 26 counts of a byte each, then as much as they say must follow."""
    counts = (content[:26] + bytes(26))[:26]
    length = _file_bytes(list(counts))
    _weights((struct.pack("<26I", *counts) + content[26:] + bytes(length))[:length])


def checkpoint(content):
    """A checkpoint whose state, and weights whose configuration, is this text: read and taken apart as --resume and eval do."""
    text = content.decode("latin-1")
    path = Path(_folder.name, "epoch-0001.safetensors")
    save_weights(path, {}, {"format": checkpoints.FORMAT, "format_version": str(checkpoints.FORMAT_VERSION),
                            "crc32": str(checkpoints._checksum({})), "state": text})
    with contextlib.suppress(CheckpointError):
        Configuration.from_dict(checkpoints.load_checkpoint(path)[1].get("configuration"))
    with contextlib.suppress(CheckpointError):
        read_trained(path)
    save_weights(path, {}, {"configuration": text})
    with contextlib.suppress(CheckpointError):
        read_trained(path)


def restore(content):
    """The state of a checkpoint, as JSON, taken up by a trainer of its kind."""
    trainer, arrays = _tiny_run()
    with contextlib.suppress(ValueError, RecursionError, CheckpointError):
        trainer.restore(arrays, json.loads(content.decode("latin-1")))


@functools.cache
def _tiny_run():
    tiny = runpy.run_path(str(Path(__file__).parents[1] / "minicnn" / "training" / "tiny_run.py"))
    trainer = tiny["build"]()
    return trainer, trainer.state()[0]


def idx(content):
    """An idx file of images, packed if it begins with z, beside good labels."""
    _path("mnist/train-images-idx3-ubyte", gzip.compress(content[1:], 1) if content[:1] == b"z" else content)
    path = _path("mnist/train-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x02\x03\x04").parent
    with contextlib.suppress(DataError):
        open_dataset(path, "train")


def cifar(content):
    """A tar archive, packed if it begins with z, with CIFAR's files."""
    path = _path("cifar.tar", gzip.compress(content[1:], 1) if content[:1] == b"z" else content)
    for split in ("train", "test"):
        with contextlib.suppress(DataError):
            open_dataset(path, split)


def image(content):
    """An image of any format that is read."""
    with contextlib.suppress(DataError):
        decode_image(content, "image")


def image_zip(content):
    """A zip archive of images in class folders."""
    path = _path("images.zip", content)
    with contextlib.suppress(DataError):
        found = open_dataset(path, available_splits(path)[0])
        for i in range(min(3, len(found))):
            found.image(i)


TARGETS = {target.__name__: target for target in (torch_zip, torch_legacy, archive, npz, safetensors, deep_compression,
                                                  checkpoint, restore, idx, cifar, image, image_zip)}
