"""A failed write leaves the file that was there, whole, and no litter."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.errors import CheckpointError
from minicnn.io import load_weights, save_weights
from minicnn.io.atomic import atomic_write

ROOT = Path(__file__).parents[3]
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file modes and links")


def disk_full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def write_half(path, error):
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")
    return path


def assert_untouched(path):
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_new_file(tmp_path):
    with atomic_write(tmp_path / "new") as file:
        file.write(b"new")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["new"]


def test_old_file_is_there_until_the_end(old):
    with atomic_write(str(old)) as file:
        file.write(b"new and longer")
        file.flush()
        assert old.read_bytes() == b"old"
    assert old.read_bytes() == b"new and longer"
    assert os.listdir(old.parent) == [old.name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_in_the_block(old, error):
    with pytest.raises(error, match="stop"):
        write_half(old, error("stop"))
    assert_untouched(old)


def test_disk_full_in_the_block(old):
    with pytest.raises(CheckpointError, match=r"cannot write .*: No space left on device; what was there is untouched"):
        write_half(old, OSError(errno.ENOSPC, "No space left on device"))
    assert_untouched(old)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_disk_full_at_the_end(old, monkeypatch, call):
    monkeypatch.setattr(os, call, disk_full)
    with pytest.raises(CheckpointError, match=r"No space left on device; .* free some space or choose another folder"):
        save_weights(old, {"a": np.ones(3)})
    assert_untouched(old)


@posix_only
def test_file_size_limit_of_the_system(old):
    """The kernel refuses the write half way."""
    program = ("import resource, sys, numpy\n"
               "from minicnn.io import save_weights\n"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
               "save_weights(sys.argv[1], {'a': numpy.ones(10000)})\n")
    ran = subprocess.run([sys.executable, "-B", "-c", program, str(old)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "CheckpointError: cannot write" in ran.stderr
    assert "File too large; what was there is untouched" in ran.stderr
    assert_untouched(old)


def test_value_that_cannot_be_saved(old):
    with pytest.raises(CheckpointError, match="'b' is a str"):
        save_weights(old, {"a": np.ones(3), "b": "text"})
    assert_untouched(old)


def test_the_file_and_its_folder_are_synced(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append("sync"))
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("rename"), rename(*paths)))
    save_weights(tmp_path / "w", {"a": np.ones(3)})
    assert events == (["sync", "rename", "sync"] if os.name != "nt" else ["sync", "rename"])


def test_folder_that_cannot_be_synced(tmp_path, monkeypatch):
    def fsync(descriptor, original=os.fsync):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        original(descriptor)
    monkeypatch.setattr(os, "fsync", fsync)
    save_weights(tmp_path / "w", {"a": np.ones(3)})
    assert load_weights(tmp_path / "w")["a"].tolist() == [1, 1, 1]


def test_folder_that_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot write .*: the folder .*nowhere does not exist; create it first"):
        save_weights(tmp_path / "nowhere" / "w", {"a": np.ones(1)})


def test_path_that_is_a_folder(tmp_path):
    with pytest.raises(CheckpointError, match="it is a folder; add a file name"):
        save_weights(tmp_path, {"a": np.ones(1)})


@posix_only
def test_path_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="it is a device or pipe"):
        save_weights(tmp_path / "pipe", {"a": np.ones(1)})
    assert os.listdir(tmp_path) == ["pipe"]


@posix_only
def test_symbolic_link_is_followed(old):
    link = old.parent / "latest"
    link.symlink_to(old.name)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


@posix_only
def test_file_mode(old):
    old.chmod(0o640)
    with atomic_write(old) as file:
        file.write(b"new")
    assert old.stat().st_mode & 0o777 == 0o640
    plain = old.parent / "plain"
    plain.touch()
    with atomic_write(old.parent / "fresh") as file:
        file.write(b"new")
    assert (old.parent / "fresh").stat().st_mode == plain.stat().st_mode


def test_long_name(tmp_path):
    name = "ü" * 120
    save_weights(tmp_path / name, {"a": np.ones(1)})
    assert os.listdir(tmp_path) == [name]
