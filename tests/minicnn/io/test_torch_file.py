"""Files of torch.save, in both containers, as they come from PyTorch and from training scripts."""

from pathlib import Path

import numpy as np
import pytest

from minicnn.io import load_weights

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(params=["zip", "legacy"])
def container(request, torch_files):
    return getattr(torch_files, request.param)


def assert_same(got, expected):
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes()
        assert got[name].flags.writeable
        assert got[name].flags.c_contiguous
        assert got[name].dtype.isnative


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_state_dict(container, torch_files, load, arrays, protocol):
    assert_same(load(container(torch_files.tensors(arrays), protocol=protocol)), arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"])
def test_dtypes(container, torch_files, load, dtype):
    array = np.array([0, 1, 2, 100]).astype(dtype)
    assert_same(load(container({"a": torch_files.tensor(array)})), {"a": array})


def test_float16_becomes_float32(container, torch_files, load):
    half = np.array([1.5, -2.0, 6e-8, np.inf, 65504.0], np.float16)
    assert_same(load(container({"a": torch_files.tensor(half)})), {"a": half.astype(np.float32)})


def test_bfloat16_becomes_float32(container, torch_files, load):
    values = np.array([1.0, -3.140625, 3.3895314e38, np.inf], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    block = torch_files.storage(upper, dtype="bfloat16")
    assert_same(load(container({"a": torch_files.rebuild(block, 0, (4,), (1,))})), {"a": values})


def test_float16_signalling_nan_is_no_error(container, torch_files, load):
    signalling = np.array([0x7D01], np.uint16).view(np.float16)
    assert np.isnan(load(container({"a": torch_files.tensor(signalling)}))["a"]).all()


def test_nan_payloads_are_kept(container, torch_files, load):
    bits = np.array([0x7F800001, 0x7FC12345, 0xFFFFFFFF], np.uint32)
    got = load(container({"a": torch_files.tensor(bits.view(np.float32))}))["a"]
    assert got.view(np.uint32).tolist() == bits.tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int16"])
def test_big_endian_zip(torch_files, load, dtype):
    array = np.array([1, 2, 300, -4]).astype(dtype)
    content = torch_files.zip({"a": torch_files.tensor(array, byteorder=">")}, byteorder=b"big")
    assert_same(load(content), {"a": array.astype(np.float32) if dtype == "float16" else array})


def test_big_endian_bfloat16(torch_files, load):
    block = torch_files.storage(np.array([0x3FC0], np.uint16), dtype="bfloat16", byteorder=">")
    content = torch_files.zip({"a": torch_files.rebuild(block, 0, (1,), (1,))}, byteorder=b"big")
    assert load(content)["a"].tolist() == [1.5]


def test_zip_without_byteorder_is_little_endian(torch_files, load, arrays):
    assert_same(load(torch_files.zip(torch_files.tensors(arrays), byteorder=None)), arrays)


def test_legacy_storages_are_little_endian_whatever_the_writer(torch_files, load, arrays):
    assert_same(load(torch_files.legacy(torch_files.tensors(arrays), little_endian=False)), arrays)


def test_strides_offsets_and_shared_storages(container, torch_files, load):
    base = np.arange(24, dtype=np.float32)
    block = torch_files.storage(base)
    cube = base.reshape(2, 3, 4)
    views = {"whole": (0, (2, 3, 4), (12, 4, 1)), "transposed": (0, (4, 2, 3), (1, 12, 4)),
             "slice": (4, (2, 2, 2), (12, 4, 2)), "broadcast": (5, (3, 2), (0, 0)), "last": (23, (), ()),
             "row": (0, (1, 24), (10**30, 1)), "empty": (24, (0, 3), (3, 1))}
    expected = {"whole": cube, "transposed": cube.transpose(2, 0, 1), "slice": cube[:, 1:, ::2],
                "broadcast": np.full((3, 2), 5, np.float32), "last": base[23], "row": base[None],
                "empty": np.empty((0, 3))}
    got = load(container({name: torch_files.rebuild(block, *view) for name, view in views.items()}))
    assert_same(got, {name: np.array(array, np.float32) for name, array in expected.items()})


def test_arrays_share_no_memory(container, torch_files, load):
    tied = torch_files.tensor(np.ones((2, 2), np.float32))
    got = load(container({"encoder": tied, "decoder": tied}))
    got["encoder"][:] = 0
    assert (got["decoder"] == 1).all()


def test_legacy_storage_views(torch_files, load):
    base = np.arange(10, dtype=np.float32)
    view = torch_files.Storage("0", "float32", 10, base.tobytes(), view=("1", 4, 3))
    got = load(torch_files.legacy({"a": torch_files.rebuild(view, 1, (2,), (1,))}))
    assert got["a"].tolist() == [5, 6]


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_checkpoints_are_unwrapped(container, torch_files, load, arrays, key):
    name, call = torch_files.Name, torch_files.Call
    number = call(name("numpy.core.multiarray", "scalar"),
                  (call(name("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0)), "x"))
    scheduler = call(name("collections", "defaultdict"), (name("builtins", "list"),))
    checkpoint = {"epoch": 90, "scheduler": scheduler, "arch": "resnet20",
                  "best_prec1": torch_files.tensor(np.float32(71.5), "best"),
                  "best_acc": number, "device": call(name("torch", "device"), ("cuda",)), "lr": 0.1, "none": None,
                  "dtype": name("torch", "float32"), "size": call(name("torch", "Size"), ((2, 3),)),
                  "args": call(name("argparse", "Namespace"), (), {"lr": 0.1}), "history": [1, 2.5, (True, -3, 10**15)],
                  "milestones": call(name("collections", "Counter"), ({30: 1},)),
                  "optimizer": {"state": {0: {"momentum_buffer": torch_files.tensor(np.ones(3), "momentum")}}},
                  key: {**torch_files.tensors(arrays), "version": 2}}
    assert_same(load(container(checkpoint)), arrays)


def test_data_parallel_prefix_is_dropped(container, torch_files, load, arrays):
    wrapped = torch_files.tensors({f"module.{name}": array for name, array in arrays.items()})
    assert_same(load(container({"state_dict": wrapped})), arrays)


def test_prefix_that_not_all_names_have_stays(container, torch_files, load):
    mixed = {"module.a": np.ones(2), "b": np.ones(3)}
    assert_same(load(container(torch_files.tensors(mixed))), mixed)


def test_parameters_old_and_new(container, torch_files, load):
    """torch 0.1 wrote Parameter(data) with a state, later versions _rebuild_parameter."""
    name, call = torch_files.Name, torch_files.Call
    array = np.array([1, 2], np.float32)
    old = call(name("torch.nn.parameter", "Parameter"), (torch_files.tensor(array, "0"),), (True, False, {}))
    new = call(name("torch._utils", "_rebuild_parameter"), (torch_files.tensor(array, "1"), True, {}))
    assert_same(load(container({"old": old, "new": new})), {"old": array, "new": array})


def test_ordered_dicts_of_python_2_and_with_metadata(container, torch_files, load):
    ordered = torch_files.Name("collections", "OrderedDict")
    array = np.array([1, 2], np.float32)
    pairs = [["a", torch_files.tensor(array)]]
    assert_same(load(container(torch_files.Call(ordered, (pairs,), {"_metadata": {"": {"version": 1}}}))), {"a": array})


def test_cuda_storages_need_no_gpu(container, torch_files, load):
    array = np.array([1, 2], np.float32)
    block = torch_files.Storage("0", "float32", 2, array.tobytes(), module="torch.cuda")
    assert_same(load(container({"a": torch_files.rebuild(block, 0, (2,), (1,))})), {"a": array})


def test_many_tensors(container, torch_files, load):
    many = {f"layers.{i}.weight": np.array([i]) for i in range(3000)}
    assert_same(load(container(torch_files.tensors(many))), many)


# Tensors, numbers, and sums in float64, by torch.load
PUBLISHED = {
    "resnet20-12fca82f.th": (97, 271098, {"conv1.weight": 1.3100982000032673, "linear.weight": -0.04562738863751292,
                                          "layer2.0.conv1.weight": -24.616129788733815,
                                          "layer3.2.bn2.running_var": 10.665690739639103}),
    "resnet32-d509ac18.th": (157, 466426, {"conv1.weight": 1.961148000027606, "linear.weight": 0.0005941537674516439,
                                           "layer2.0.conv1.weight": -40.64987907694456,
                                           "layer3.2.bn2.running_var": 7.204736553132534}),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_resnets(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"shared data not found: {name}")
    weights = load_weights(SHARED / name)
    tensors, numbers, sums = PUBLISHED[name]
    assert len(weights) == tensors
    assert sum(array.size for array in weights.values()) == numbers
    assert all(array.dtype == np.float32 for array in weights.values())
    assert weights["conv1.weight"].shape == (16, 3, 3, 3)
    assert weights["linear.weight"].shape == (10, 64)
    for key, expected in sums.items():
        assert weights[key].sum(dtype=np.float64) == pytest.approx(expected, rel=1e-9, abs=1e-12)
