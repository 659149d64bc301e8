"""NumPy's .npz: what savez writes is read; objects, bombs and damage are refused."""

import io
import struct
import zipfile

import numpy as np
import pytest

from minicnn.errors import CheckpointError


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def npy(header, data=b"", version=1):
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def archive(*entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, content in entries:
            opened.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def refuses(load):
    def check(content, match):
        with pytest.raises(CheckpointError, match=match):
            load(content)
    return check


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "uint16", "bool", ">f4", ">i8"])
def test_round_trip(load, save, dtype):
    arrays = {"a": np.arange(12).astype(dtype).reshape(3, 4), "b": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
              "layer/c": np.array(3).astype(dtype), "empty": np.empty((0, 2), dtype)}
    got = load(npz(save, **arrays))
    assert list(got) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array.astype(array.dtype.newbyteorder('=')), strict=True)
        assert got[name].dtype.isnative
        assert got[name].flags.writeable
        assert got[name].flags.c_contiguous


def test_float16_becomes_float32(load):
    got = load(npz(a=np.array([1.5, 2], np.float16)))["a"]
    assert got.dtype == np.float32
    assert got.tolist() == [1.5, 2]


def test_nan_payloads_are_kept(load):
    bits = np.array([0x7F800001, 0xFFFFFFFF], np.uint32)
    assert load(npz(a=bits.view(np.float32)))["a"].view(np.uint32).tolist() == bits.tolist()


def test_header_version_2(load):
    content = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", np.float32(2).tobytes(), version=2)
    assert load(archive(("a.npy", content)))["a"].tolist() == [2]


def test_prefix_is_dropped(load):
    assert list(load(npz(**{"module.a": np.ones(1), "module.b": np.ones(1)}))) == ["a", "b"]


@pytest.mark.parametrize("array", [np.array([{"a": 1}]), np.array(["text"]), np.ones(2, complex),
                                   np.array(["2020-01-01"], "datetime64[D]")])
def test_arrays_that_are_not_numbers(refuses, array):
    refuses(npz(a=array), "'a.npy' has the dtype .*; only real numbers and booleans are weights")


def test_structured_array(refuses):
    refuses(npz(a=np.ones(2, [("x", "f4")])), "'a.npy' is a structured array")


@pytest.mark.parametrize(("content", "match"), [
    (b"", "is not in NumPy's format 1.0 or 2.0"),
    (b"not an array at all", "is not in NumPy's format 1.0 or 2.0"),
    (npy("{}", version=3), "is not in NumPy's format 1.0 or 2.0"),
    (npy("{'descr': '<f4'") + b" ", "has a header that cannot be read"),
    (npy("{'descr': '<f4'}"), "has a header that cannot be read"),
    (npy("[1, 2, 3, 4, 5]"), "has a header that cannot be read"),
    (npy("(" * 5000), "has a header that cannot be read"),
    (npy("-" * 9000 + "1"), "has a header that cannot be read"),
    (npy("9" * 9000), "has a header that cannot be read"),
    (npy("__import__('os').system('exit')"), "has a header that cannot be read"),
    (npy("{'descr': 'x9', 'fortran_order': False, 'shape': ()}"), "has a header that cannot be read"),
    (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)), "object arrays could run code"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), r"has the shape \(-1,\)"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}"), r"has the shape \(True,\)"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': 3}"), "has the shape 3"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10**12,)}"), "has a header that cannot be read"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
     "needs 4,000,000,000,000 bytes and has 0"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,)}"), "has the shape"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(4)), "needs 8 bytes and has 4"),
    (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(12)), "needs 8 bytes and has 12"),
    (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{}", "has a header of 2,147,483,647 bytes"),
])
def test_damaged_arrays(refuses, content, match):
    refuses(archive(("a.npy", content)), match)


def test_bomb(refuses):
    content = npz(np.savez_compressed, a=np.zeros(40 * 2**20, np.uint8))
    assert len(content) < 2**20
    refuses(content, "its arrays claim 83,88.,... bytes, more than")


def test_names_that_lead_out(refuses):
    refuses(archive(("../a.npy", npy("{}"))), "leads out of the archive")


def test_zip_of_other_things(refuses):
    refuses(archive(("a.txt", b"hello"), ("b.npy", npy("{}"))), r"found a zip archive of 2 entries \(a.txt, b.npy\)")


def test_empty_archive(refuses):
    refuses(npz(), "found an empty zip archive")


def test_truncation_at_every_byte(load):
    content = npz(a=np.arange(3, dtype=np.float32))
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match="load_weights: "):
            load(content[:length])
