"""Which format a file is, what is said of other files, and random damage to every format."""

import gzip
import io
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.errors import CheckpointError
from minicnn.io import load_weights, save_weights

FORMATS = ["zip", "legacy", "safetensors", "npz", "npz_compressed"]


@pytest.fixture(scope="session")
def small_files(torch_files, tmp_path_factory):
    """A small valid file of each format."""
    arrays = {"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float16), "c": np.array(5)}
    path = tmp_path_factory.mktemp("small") / "w"
    save_weights(path, arrays)
    saved = torch_files.tensors(arrays)
    files = {"zip": torch_files.zip(saved), "legacy": torch_files.legacy(saved), "safetensors": path.read_bytes()}
    for name, save in [("npz", np.savez), ("npz_compressed", np.savez_compressed)]:
        file = io.BytesIO()
        save(file, **arrays)
        files[name] = file.getvalue()
    return {**files, "net": small_net()}


def small_net():
    """Five entries in each of SqueezeNet's convolutions, which have 3,976 biases; codebooks and codes are random."""
    rest = np.random.default_rng(0).bytes(26 * (256 * 4 + 5 + 3) + 4 * 3976)
    return np.full(26, 5, "<u4").tobytes() + rest


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz", ".net", ""])
def test_content_decides_not_the_name(small_files, tmp_path, form, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(small_files[form])
    got = load_weights(path)
    assert sorted(got) == ["a", "b", "c"]
    assert got["a"].tolist() == [0, 1, 2]
    assert got["b"].dtype == np.float32
    assert got["c"] == 5
    assert load_weights(str(path)).keys() == got.keys()


def zip_of(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x")
    return file.getvalue()


@pytest.mark.parametrize(("content", "found"), [
    (b"", "an empty file"),
    (b"<!DOCTYPE html><title>404", "a web page, not the file it links to"),
    (b"\n  <html><body>", "a web page"),
    (b"accuracy: 91.2\n", r"text \('accuracy: 91.2\\n'\)"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, .* `git lfs pull`"),
    (gzip.compress(bytes(10**6)), "a gzip file; unpack it first"),
    (b"BZh91AY", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x93NUMPY\x01\x00", r"a single NumPy array \(.npy\), .* numpy.savez"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x89PNG\r\n\x1a\n", "an image"),
    (b"\xff\xd8\xff\xe0", "an image"),
    (b"\x80\x02}.", "a pickle that torch.save did not write"),
    (bytes(257) + b"ustar" + bytes(250), "a tar archive"),
    (bytes(range(128, 228)), "unknown data .first bytes 80|a pickle"),
    (bytes(4), "unknown data .first bytes 00 00 00 00"),
    (zip_of("readme.txt"), "a zip archive of 1 entries .readme.txt. without weights"),
])
def test_files_that_are_not_weights(load, content, found):
    with pytest.raises(CheckpointError, match=f"load_weights: .*: found {found}.*expected are weights as torch.save"):
        load(content)


def test_small_net_is_recognised(small_files, load):
    assert np.unique(load(small_files["net"])["features.0.weight"]).size > 1


def test_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"found a folder; expected are .*; name a file in it"):
        load_weights(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"load_weights: .*nowhere\.pth: there is no such file; check the path"):
        load_weights(tmp_path / "nowhere.pth")


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="found a device or pipe; name a file"):
        load_weights(tmp_path / "pipe")


def read_or_refuse(load, content):
    """Success or CheckpointError; anything else fails the test."""
    try:
        arrays = load(content)
    except CheckpointError:
        return
    assert all(type(name) is str and type(array) is np.ndarray for name, array in arrays.items())


@pytest.mark.parametrize("form", [*FORMATS, "net"])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_damage(small_files, load, form, data):
    content = bytearray(small_files[form])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            content[at:at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    read_or_refuse(load, bytes(content))


@settings(max_examples=300, deadline=None)
@given(program=st.binary(max_size=60))
def test_random_pickles(torch_files, load, program):
    read_or_refuse(load, torch_files.zip({}, pickle_bytes=program))


PIECES = [b"}", b"]", b")", b"(", b"t", b"\x85", b"\x86", b"\x87", b"R", b"b", b"s", b"u", b"a", b"e", b"Q", b"\x81",
          b"q\x00", b"h\x00", b"\x94", b"N", b"\x88", b"K\x01", b"\x8a\x01\xff", b"X\x01\x00\x00\x000",
          b"X\x07\x00\x00\x00storage",
          b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n",
          b"ctorch\nSize\n", b"cargparse\nNamespace\n", b"ctorch._utils\n_rebuild_parameter\n", b"\x93"]


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=25))
def test_random_programs_of_allowed_opcodes(torch_files, load, pieces):
    read_or_refuse(load, torch_files.zip({}, pickle_bytes=b"".join(pieces) + b"."))
