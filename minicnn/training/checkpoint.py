"""Checkpoints: everything a training run goes on from, in one safetensors file with JSON in its header.

A file is written beside its final name, flushed to the disk and renamed (minicnn.io.atomic_write), so that a crash, a
kill or a full disk leaves the checkpoints before it whole. A checksum over the arrays finds damage on the disk.
"""

import contextlib
import json
import os
import re
import zlib
from pathlib import Path

import numpy as np

from minicnn._version import __version__
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.io import load_safetensors, save_weights
from minicnn.io.atomic import sync_folder

FORMAT, FORMAT_VERSION = "minicnn-checkpoint", 1
_NAME = re.compile(r"epoch-(\d+)(?:-batch-(\d+))?\.safetensors")
_ORPHAN = re.compile(r"\.(epoch-\d+.*|metrics\.csv|metrics\.jsonl|weights\.safetensors)\.[0-9a-f]{12}\.tmp")


def save_checkpoint(path, arrays, state):
    """Write {name: array} and `state` (a dict that JSON can hold) as one file, atomically. Raises CheckpointError."""
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "minicnn_version": __version__,
                "crc32": str(_checksum(arrays)), "state": json.dumps(state)}
    save_weights(path, arrays, metadata)


def load_checkpoint(path):
    """(arrays, state) of a checkpoint file, as they were saved. Raises CheckpointError for a damaged or foreign file."""
    arrays, metadata = load_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: holds weights but is no checkpoint of a training run; resume from a file under "
                              "checkpoints/ of a run's folder")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise CheckpointError(f"{path}: has format version {metadata.get('format_version')}, this minicnn reads "
                              f"{FORMAT_VERSION}; use minicnn {metadata.get('minicnn_version')}")
    if metadata.get("crc32") != str(_checksum(arrays)):
        raise CheckpointError(f"{path}: the checksum does not fit the arrays; the file is damaged: delete it, and "
                              "--resume takes the checkpoint before it")
    try:
        state = json.loads(metadata["state"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its state is not JSON ({str(error)[:80]}); the file is damaged: delete it, and "
                              "--resume takes the checkpoint before it") from error
    if type(state) is not dict:
        raise CheckpointError(f"{path}: its state is a {type(state).__name__}, not a JSON object; the file was not written by "
                              "minicnn: resume from another")
    return arrays, state


def model_weights(arrays):
    """The weights to evaluate with, of a checkpoint's arrays: the averaged ones where the run averages them."""
    names = [name.removeprefix("model/") for name in arrays if name.startswith("model/")]
    return {name: arrays.get(f"average/{name}", arrays[f"model/{name}"]) for name in names}


class CheckpointFolder:
    """The checkpoints of one run: saves new ones, keeps the last `keep`, knows the latest.

    Creates the folder, and removes what an earlier process left half written in it. Raises ArgumentError for keep < 1,
    CheckpointError if the folder cannot be made, or while another process trains in it.
    """

    def __init__(self, folder, keep=3):
        if keep < 1:
            raise ArgumentError(f"checkpoints: keep {keep} is less than 1; at least the last one must stay to resume from")
        self.folder, self.keep = Path(folder), keep
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot create {folder}: {error.strerror}; choose another --out") from error
        for place in (self.folder, self.folder.parent):     # a new folder must outlive a power cut as well
            sync_folder(place.parent)
        with self.alone():
            sweep(self.folder)

    @contextlib.contextmanager
    def alone(self):
        """Inside this with-block no other process writes here; CheckpointError if one does. SIGKILL ends it, too."""
        try:
            import fcntl
        except ImportError:     # Windows
            yield
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise CheckpointError(f"another process trains in {self.folder.parent}; wait for it, end it, or choose another "
                                  "--out") from error
        except OSError:         # a network file system that has no locks
            pass
        try:
            yield
        finally:
            os.close(descriptor)

    def save(self, epoch, batch, arrays, state):
        """Save the state after `epoch` whole epochs and `batch` batches of the next; returns the path."""
        name = f"epoch-{epoch:04d}-batch-{batch:06d}" if batch else f"epoch-{epoch:04d}"
        path = self.folder / f"{name}.safetensors"
        save_checkpoint(path, arrays, state)
        for old in saved_checkpoints(self.folder)[:-self.keep]:
            old.unlink(missing_ok=True)
        return path

    def latest(self):
        """The path of the checkpoint that is furthest in training, or None."""
        return next(reversed(saved_checkpoints(self.folder)), None)


def sweep(folder):
    """Remove the files of a run that a killed process left half written in a folder."""
    for path in Path(folder).iterdir():
        if _ORPHAN.fullmatch(path.name):
            path.unlink(missing_ok=True)


def saved_checkpoints(folder):
    """The checkpoint files of a folder, earliest in training first; [] where there is none."""
    folder = Path(folder)
    found = [(match, path) for path in (folder.iterdir() if folder.is_dir() else ())
             if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda pair: (int(pair[0][1]), int(pair[0][2] or 0)))]


def _checksum(arrays):
    """CRC-32 over names, dtypes, shapes and bytes, in the order of names."""
    crc = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        crc = zlib.crc32(f"{name} {array.dtype} {np.shape(arrays[name])}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8), crc)
    return crc
