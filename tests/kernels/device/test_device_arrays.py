"""Device arrays: NumPy's functions and operators on them, what they refuse, and where their memory comes from."""

import gc
import sys

import numpy as np
import pytest

import kernels
from kernels import device
from kernels.device import pool
from kernels.errors import BackendError, DTypeError
from minicnn import Tensor, nn, ops

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not device.available(), reason=f"no GPU: {device.why_not()}")]


@pytest.fixture
def a(rng):
    return rng.standard_normal((2, 3, 4))


def up(array):
    return device.to_device(array)


@pytest.mark.parametrize("key", [0, -1, slice(1, None), (slice(None), 1), (..., slice(None, None, 2)), (0, ..., -1), None,
                                 (slice(None), slice(None, None, -1)), [1, 0, 1], (slice(None), [2, 2])], ids=str)
def test_indexing_as_numpy(a, key):
    np.testing.assert_array_equal(np.asarray(up(a)[key]), a[key])


@pytest.mark.parametrize("key", [0, (slice(None), 1), (..., slice(None, None, 2)), ...], ids=str)
def test_assignment_as_numpy(a, key):
    for value in (2.5, a[key] * 3, up(a[key] * 4)):
        x = up(a)
        expected = a.copy()
        x[key] = value
        expected[key] = np.asarray(value)
        np.testing.assert_array_equal(np.asarray(x), expected)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (0, 2), (1, 2)], ids=str)
@pytest.mark.parametrize("keepdims", [True, False])
def test_sums_as_numpy(a, axis, keepdims):
    for name in ("sum", "mean"):
        actual = getattr(up(a), name)(axis, keepdims=keepdims)
        expected = getattr(a, name)(axis, keepdims=keepdims)
        np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-14, strict=True)


def test_a_long_sum_is_cut_into_chunks(rng):
    x = rng.standard_normal(3000).astype("float32")
    np.testing.assert_allclose(up(x).sum().item(), x.sum(dtype="float64"), rtol=1e-6)
    assert device.norm([up(x), up(x[:7])]) == pytest.approx(np.sqrt((x ** 2.0).sum() + (x[:7] ** 2.0).sum()), rel=1e-6)


def test_layouts_and_shapes_as_numpy(a):
    x = up(a)
    for look in (lambda b: b.T, lambda b: b.transpose(1, 2, 0), lambda b: b.swapaxes(0, 2), lambda b: b.reshape(4, -1),
                 lambda b: np.moveaxis(b, 1, -1), lambda b: np.broadcast_to(b[:, :1], (2, 3, 4)), lambda b: b.ravel(),
                 lambda b: np.pad(b, ((1, 0), (0, 2), (0, 0))), lambda b: np.ones_like(b, shape=(2, 2)), np.zeros_like):
        np.testing.assert_array_equal(np.asarray(look(x)), look(a), strict=True)
    assert np.may_share_memory(x, x.reshape(24))
    assert not np.may_share_memory(x, x.copy())


def test_operators_as_numpy_and_in_place(a):
    x, b = up(a), np.abs(a[0]) + 1
    y = up(b)
    for compute in (lambda a, b: 2 * a - a / b, lambda a, b: b ** 2 + b ** 0.5, lambda a, b: -np.exp(a) * np.log(b),
                    lambda a, b: np.maximum(a, 0) + np.sqrt(b), lambda a, b: a[0] @ b.T, lambda a, b: 1 / b):
        np.testing.assert_allclose(np.asarray(compute(x, y)), compute(a, b), rtol=1e-13)
    x += 1
    x *= y
    np.testing.assert_allclose(np.asarray(x), (a + 1) * b, rtol=1e-14)
    assert (up(a.astype("float32")) * 2).dtype == up(a).astype("float32").dtype == "float32"


@pytest.mark.parametrize("shapes", [((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((0, 4), (4, 5)),
                                    ((3, 17), (17, 19))], ids=str)
def test_stacks_of_matrices_as_numpy(shapes, rng):
    a, b = (rng.standard_normal(shape) for shape in shapes)
    np.testing.assert_allclose(np.asarray(up(a) @ up(b)), a @ b, rtol=1e-12, atol=1e-14, strict=True)


def test_what_has_no_cuda_version_is_refused_by_name(a, monkeypatch):
    x = up(a)
    with pytest.raises(BackendError, match=r"numpy.cumsum has no CUDA version; compute it on the host"):
        np.cumsum(x)
    with pytest.raises(BackendError, match=r"numpy.sin has no CUDA version; compute it on the host"):
        np.sin(x)
    with pytest.raises(BackendError, match=r"numpy.add.reduce has no CUDA version"):
        np.add.reduce(x)
    with pytest.raises(BackendError, match="activation.gelu has no CUDA version"):
        device.call_room("activation", "gelu", [x])
    monkeypatch.setattr(device, "_twins", device._twins.__wrapped__)
    monkeypatch.delitem(sys.modules, "kernels.activation.cuda", raising=False)
    monkeypatch.setattr("kernels.device.importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"activation.relu_forward has no CUDA version; run it on the CPU: model.to"):
        kernels.activation.relu_forward(x)


def test_arrays_that_live_apart_are_refused_with_both_names(a):
    x = up(a)
    with pytest.raises(BackendError, match=r"first array \(shape \(2, 3, 4\)\) is on cpu, the other .* on cuda; move one"):
        a + x
    with pytest.raises(BackendError, match=r"Add: argument 1 \(shape \(4,\)\) is on cpu and argument 0 .* on cuda; move one"):
        Tensor(x) + Tensor(a[0, 0])
    with pytest.raises(BackendError, match=r"linear.forward: argument 1 \(shape \(3, 4\)\) is on cpu and argument 0 .* cuda"):
        kernels.linear.forward(x[0], a[1], None)
    with pytest.raises(DTypeError, match="dtypes float32 and float64 differ"):
        np.add(x, x.astype("float32"))
    np.testing.assert_array_equal(np.asarray((Tensor(x) * 2.0 + 1).data), a * 2 + 1)        # numbers go anywhere


def test_tensors_and_modules_move_there_and_back(a):
    t = Tensor(a.astype("float32"), requires_grad=True)
    y = t.to("cuda")
    assert (t.device, y.device) == ("cpu", "cuda")
    assert y.to("cuda") is y
    assert "device='cuda'" in repr(y)
    y.sum().backward()
    np.testing.assert_array_equal(t.grad, np.ones(a.shape, "float32"))
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to("cuda")
    assert {p.device for p in model.parameters()} == {model[1].running_mean.device} == {"cuda"}
    state = {name: np.asarray(array) for name, array in model.state_dict().items()}
    other = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to("cuda")
    other.load_state_dict(state)
    for name, array in other.to("cpu").state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    with pytest.raises(BackendError, match="device 'tpu' is not 'cpu' or 'cuda'; choose one of them"):
        t.to("tpu")


def test_memory_of_dead_arrays_is_used_again(a):
    def step():
        x = Tensor(up(a), requires_grad=True)
        ops.relu(x * 2.0 + x).sum().backward()
        gc.collect()            # a graph dies in a cycle, that of another test, too
    step()
    before = pool.figures()["allocations"]
    for _ in range(3):
        step()
    assert pool.figures()["allocations"] == before
    pool.release()
    assert pool.figures()["bytes"] >= 0
    step()
    assert pool.figures()["allocations"] > before


def test_short_memory_releases_what_is_free_then_says_so():
    asked = []

    def allocate(count, dtype):
        asked.append(count)
        if sum(asked) > 10 or count > 6:
            raise MemoryError
        return np.empty(count, dtype)
    small = pool.Pool(allocate)
    small.give(small.take(4, "float32"), 4, "float32")
    with pytest.raises(BackendError, match="GPU memory is short: .* use a smaller batch"):
        small.take(8, "float32")
    assert not small.free
    with pytest.raises(BackendError, match=r"2147483648 values is too large .* use a smaller batch"):
        small.take(2 ** 31, "float32")
