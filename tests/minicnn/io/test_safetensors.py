"""The safetensors format: what the library writes is read, what nobody should write is refused."""

import json

import numpy as np
import pytest
import safetensors.numpy

from minicnn.errors import CheckpointError
from minicnn.io import load_safetensors, load_weights, save_weights

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


def build(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def refuses(load):
    def check(content, match):
        with pytest.raises(CheckpointError, match=match):
            load(content)
    return check


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 1, 2)])
def test_round_trip(tmp_path, dtype, shape):
    array = (np.arange(np.prod(shape, dtype=int)) % 5).astype(dtype).reshape(shape)
    save_weights(tmp_path / "w.safetensors", {"a": array, "b.c": array})
    got = load_weights(tmp_path / "w.safetensors")
    assert sorted(got) == ["a", "b.c"]
    for loaded in got.values():
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()
        assert loaded.flags.writeable
    assert sorted(safetensors.numpy.load_file(tmp_path / "w.safetensors")) == ["a", "b.c"]


@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a.T,
                                    lambda a: a.astype(">f4"), lambda a: np.broadcast_to(a[0], (3, 4))])
def test_any_memory_layout(tmp_path, change):
    array = change(np.arange(12, dtype=np.float32).reshape(3, 4))
    save_weights(tmp_path / "w", {"a": array})
    np.testing.assert_array_equal(load_weights(tmp_path / "w")["a"], array.astype(np.float32), strict=True)


def test_nan_payloads_are_kept(tmp_path):
    bits = np.array([0x7F800001, 0x7FC12345, 0xFFFFFFFF], np.uint32)
    save_weights(tmp_path / "w", {"a": bits.view(np.float32)})
    assert load_weights(tmp_path / "w")["a"].view(np.uint32).tolist() == bits.tolist()


def test_float16_and_bfloat16_become_float32(load):
    half = np.array([1.5, -2], "<f2").tobytes()
    brain = np.array([0x3FC0, 0xC000], "<u2").tobytes()
    got = load(build({"h": entry("F16", (2,), (0, 4)), "b": entry("BF16", (2,), (4, 8))}, half + brain))
    assert got["h"].dtype == got["b"].dtype == np.float32
    assert got["h"].tolist() == got["b"].tolist() == [1.5, -2]


def test_tensors_and_numbers_are_saved(tmp_path):
    class Parameter:
        data = np.array([1, 2], np.float32)
    save_weights(tmp_path / "w", {"p": Parameter(), "n": np.float64(3)})
    got = load_weights(tmp_path / "w")
    assert got["p"].tolist() == [1, 2]
    assert got["n"].shape == ()


def test_metadata(tmp_path):
    save_weights(tmp_path / "w", {"a": np.ones(2)}, metadata={"model": "resnet20", "epoch": "90"})
    arrays, metadata = load_safetensors(tmp_path / "w")
    assert arrays["a"].tolist() == [1, 1]
    assert metadata == {"model": "resnet20", "epoch": "90"}


def test_empty_state_dict_keeps_its_metadata(tmp_path):
    save_weights(tmp_path / "w", {}, metadata={"a": "b"})
    assert load_safetensors(tmp_path / "w") == ({}, {"a": "b"})
    with pytest.raises(CheckpointError, match="the file holds no arrays"):
        load_weights(tmp_path / "w")


def test_input_is_not_changed(tmp_path):
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    before = array.copy()
    save_weights(tmp_path / "w", {"a": array})
    assert array.dtype == ">f4"
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(("state_dict", "match"), [
    ({3: np.ones(1)}, "the name 3 must be a str other than '__metadata__'; rename it"),
    ({"__metadata__": np.ones(1)}, "must be a str other than '__metadata__'"),
    ({"a": [1, 2]}, "'a' is a list, not an array or a tensor; convert it with numpy.asarray"),
    ({"a": None}, "'a' is a NoneType, not an array"),
    ({"a": np.array([None])}, "'a' has the dtype object; real numbers or booleans"),
    ({"a": np.ones(1, complex)}, "'a' has the dtype complex128"),
    ({"a": np.array(["x"])}, "'a' has the dtype <U1"),
])
def test_values_that_cannot_be_saved(tmp_path, state_dict, match):
    with pytest.raises(CheckpointError, match=match):
        save_weights(tmp_path / "w", state_dict)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [{"epoch": 3}, {3: "epoch"}])
def test_metadata_that_is_not_text(tmp_path, metadata):
    with pytest.raises(CheckpointError, match=r"is not a pair of str; convert it with json\.dumps"):
        save_weights(tmp_path / "w", {"a": np.ones(1)}, metadata=metadata)


@pytest.mark.parametrize(("content", "match"), [
    (build(b"{"), "the header is not JSON"),
    (build(b"{\xff}"), "the header is not JSON"),
    (build(b'{"a":' + b"[" * 100_000), "the header is not JSON"),
    (build(b'{"a":' * 100_000), "the header is not JSON"),
    (build(b'{"a":' + b"9" * 10_000 + b"}"), "the header is not JSON"),
    (build(b'{"a":{},"a":{}}'), "duplicate name 'a' in the header"),
    (build(b'{"a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
     "duplicate name 'dtype'"),
    (build({"a": 3}), "'a' is not described by dtype, shape and data_offsets"),
    (build({"a": {"dtype": "F32"}}), "'a' is not described by dtype, shape and data_offsets"),
    (build({"a": {**entry(), "code": "x"}}, bytes(4)), "'a' is not described by"),
    (build({"a": entry("F8_E4M3")}, bytes(4)), "has the dtype F8_E4M3; those read are BF16, F16, F32"),
    (build({"a": entry(["F32"])}, bytes(4)), r"has the dtype \['F32'\]"),
    (build({"a": entry(shape=(-1,))}, bytes(4)), r"has the shape \[-1\]"),
    (build({"a": entry(shape=(1.0,))}, bytes(4)), r"has the shape \[1.0\]"),
    (build({"a": entry(shape=(True,))}, bytes(4)), r"has the shape \[True\]"),
    (build({"a": entry(shape=(1,) * 33)}, bytes(4)), "has the shape"),
    (build({"a": entry(shape=(2**47, 2**47), offsets=(0, 4))}, bytes(4)), "needs 79,.* bytes and has 4"),
    (build({"a": entry(shape=(2**70,))}, bytes(4)), "has the shape"),
    (build({"a": entry(offsets=(0, 8))}, bytes(8)), "needs 4 bytes and has 8"),
    (build({"a": entry(offsets=(4, 0))}, bytes(4)), "needs 4 bytes and has -4"),
    (build({"a": entry(offsets=(0,))}, bytes(4)), r"the range \[0\]"),
    (build({"a": entry(offsets=(4, 8))}, bytes(8)), "'a' begins at byte 4 of the data instead of 0"),
    (build({"a": entry(), "b": entry()}, bytes(4)), "'b' begins at byte 0 of the data instead of 4"),
    (build({"a": entry()}, bytes(3)), "the arrays take 4 bytes and the file has 3 for them"),
    (build({"a": entry()}, bytes(9)), "the arrays take 4 bytes and the file has 9 for them"),
    (build({"__metadata__": {"a": 3}}), "the metadata is not a dictionary of str"),
    (build({"__metadata__": "a"}), "the metadata is not a dictionary of str"),
    ((2**63).to_bytes(8, "little") + b"{}", "header should have 9,223,372,036,854,775,808 bytes"),
    ((9 * 2**20).to_bytes(8, "little") + b"{" + bytes(9 * 2**20),
     "the header has 9,437,184 bytes, more than 8,388,608"),
])
def test_damaged_files(refuses, content, match):
    refuses(content, match)


def test_truncation_at_every_byte(tmp_path, load):
    save_weights(tmp_path / "w", {"a": np.arange(3, dtype=np.float32), "b": np.ones(2)})
    content = (tmp_path / "w").read_bytes()
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match="load_weights: "):
            load(content[:length])


def test_hundred_thousand_keys_are_read_or_refused(load, refuses):
    header = {f"{i:05}": entry("U8", (1,), (i, i + 1)) for i in range(100_000)}
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(load(build(text, bytes(100_000)))) == 100_000
    refuses(build({f"{i:099}": i for i in range(100_000)}), "more than 8,388,608")


def test_load_safetensors_names_the_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"load_safetensors: .*absent: there is no such file"):
        load_safetensors(tmp_path / "absent")
    (tmp_path / "w").write_bytes(build(b"[]"))
    with pytest.raises(CheckpointError, match="the header is not a JSON object"):
        load_safetensors(tmp_path / "w")
    (tmp_path / "w").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"load_safetensors: .*not a safetensors file"):
        load_safetensors(tmp_path / "w")
