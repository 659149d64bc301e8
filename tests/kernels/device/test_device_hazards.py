"""What a GPU punishes and small right inputs do not show: memory that nobody wrote, NaN, batches of none, grids without end."""

import numpy as np
import pytest
from op_cases import CASES
from support import close, run_with_gradients

import kernels
from kernels import Window2d, device
from kernels.device import pool
from kernels.errors import BackendError
from minicnn import ops

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not device.available(), reason=f"no GPU: {device.why_not()}")]


def up(array):
    return device.to_device(array)


@pytest.fixture
def poisoned(monkeypatch):
    """Every block of memory holds NaN, or a number far beyond any index, before its owner writes."""
    def new_storage(count, dtype):
        storage = plain(count, dtype)
        filler = np.full(storage.count, np.nan if np.dtype(dtype).kind == "f" else -2 ** 30, dtype)
        storage.block.copy_to_device(filler)
        return storage
    plain = pool.new_storage
    monkeypatch.setattr(pool, "new_storage", new_storage)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_read_before_it_is_written(case, rng, poisoned):
    arrays = [case.values(rng, shape).astype("float32") for shape in case.shapes]
    with kernels.using(**{case.room: "reference"} if case.room else {}):
        y, gradients = run_with_gradients(case.run, arrays)
    actual = run_with_gradients(lambda *t: ops.to(case.run(*[ops.to(x, "cuda") for x in t]), "cpu"), arrays)
    for a, b in zip([actual[0], *actual[1]], [y, *gradients]):
        close(a, b, 1e-5)


def both(function, *args):
    """What a room's function makes of NaN and infinities, on the device and by the reference."""
    there = function(*[up(a) if isinstance(a, np.ndarray) else a for a in args])
    with kernels.using(activation="reference", pool2d="reference", batch_norm="reference", lrn="reference", loss="reference",
                       dropout="reference", conv2d="reference"):
        here = function(*args)
    for a, b in zip(*[r if isinstance(r, tuple | list) else (r,) for r in (there, here)]):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-5, atol=1e-6)


AWKWARD = np.array([np.nan, np.inf, -np.inf, -0.0, 2, -3], np.float32)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")       # the simulator's threads are Python's, and NumPy's
@pytest.mark.parametrize("room", ["activation", "pool2d", "batch_norm", "lrn", "dropout", "loss", "conv2d"])
def test_nan_and_infinity_are_what_they_are_on_the_cpu(room, rng):
    x = rng.standard_normal((2, 2, 3, 4)).astype("float32")
    x[0, 0, 0], x[1, 1, 2, 2:] = AWKWARD[:4], AWKWARD[:2]
    one, gy, two = np.ones(2, np.float32), np.ones((2, 2, 3, 4), np.float32), Window2d.of(2, 1)
    if room == "activation":
        both(kernels.activation.relu_forward, AWKWARD)
        both(kernels.activation.relu_backward, np.ones(6, np.float32), AWKWARD)
        both(kernels.activation.relu_backward, AWKWARD, np.array([0, 1, -1, 2, 0, 1], np.float32))
    elif room == "pool2d":
        both(lambda x: kernels.pool2d.max_forward(x, two)[0], x)
        both(lambda x, gy: kernels.pool2d.max_backward(gy, kernels.pool2d.max_forward(x, two)[1], two, 3, 4), x,
             rng.standard_normal((2, 2, 2, 3)).astype("float32"))
        both(kernels.pool2d.avg_forward, x, two)
        both(kernels.pool2d.global_avg_forward, x)
    elif room == "batch_norm":
        both(kernels.batch_norm.statistics, x)
        both(kernels.batch_norm.normalize, x, one, one, one, one, 1e-5, x, True)
        both(kernels.batch_norm.backward, np.where(x > 0, x, gy), -gy, one, one, one, 1e-5, False, one)     # all blocked
    elif room == "lrn":
        both(kernels.lrn.forward, x, 3, 1.0, 0.75, 1.0)
    elif room == "dropout":
        both(kernels.dropout.forward, x, 0.5, 3)
    elif room == "loss":
        both(kernels.loss.log_softmax_forward, np.stack([AWKWARD, np.float32([1e4, 0, -1e4, 1, 2, 3])]))
        both(kernels.loss.log_softmax_forward, np.array([[-np.inf, 0, 1]], np.float32))
    else:
        weight = np.ones((3, 2, 2, 2), np.float32)
        weight[1, 0, 0, 0] = np.inf
        both(kernels.conv2d.forward, x, weight, None, Window2d.of(2, 1, 1))


def test_a_batch_of_none_launches_nothing_that_fails():
    x = up(np.ones((0, 2, 4, 4), np.float32))
    window, weight, one = Window2d.of(2, 2), up(np.ones((3, 2, 2, 2), np.float32)), up(np.ones(2, np.float32))
    y = kernels.conv2d.forward(x, weight, None, window)
    gx, gweight, _ = kernels.conv2d.backward(y, x, weight, window)
    assert (y.shape, gx.shape) == ((0, 3, 2, 2), x.shape)
    np.testing.assert_array_equal(np.asarray(gweight), 0)
    pooled, argmax = kernels.pool2d.max_forward(x, window)
    assert kernels.pool2d.max_backward(pooled, argmax, window, 4, 4).shape == x.shape
    assert kernels.pool2d.global_avg_forward(x).shape == (0, 2)
    assert kernels.batch_norm.normalize(x, one, one, one, one, 1e-5).shape == x.shape
    assert kernels.linear.forward(up(np.ones((0, 3), np.float32)), up(np.ones((2, 3), np.float32)), None).shape == (0, 2)
    assert (kernels.concat.forward([x, x]).shape, kernels.activation.relu_forward(x).shape) == ((0, 4, 4, 4), x.shape)
    assert np.asarray(x.sum(0)).shape == (2, 4, 4)


def test_a_grid_that_no_gpu_takes_is_refused_with_the_remedy():
    from kernels.device import shim
    with pytest.raises(BackendError, match=r"a grid of 1 x 65536 blocks, a GPU takes 65535 along .* use a smaller batch"):
        shim.launch(_never, (1, 65536), 1)


def _never():
    raise AssertionError


@pytest.mark.parametrize(("planes", "pixels", "images"), [(3, 49, 1), (2, 1, 3), (1, 5000, 1), (70000, 49, 2)])
def test_planes_of_any_size_and_number_fit_the_grid(planes, pixels, images, monkeypatch):
    """One thread a pixel and plane, whatever the sizes, and only the first axis of the grid grows with them."""
    from kernels.device import shim
    seen = []
    monkeypatch.setattr(shim, "launch", lambda function, grid, block, *args: seen.append((grid, block)))
    shim.launch_planes(_never, planes, pixels, images=images)
    ((blocks, high), (wide, tall)), = seen
    across = -(-pixels // wide)
    assert blocks % across == 0
    assert across * wide >= pixels
    assert blocks // across * tall >= planes
    assert high * shim.ITEMS >= images


def test_uploads_that_are_not_waited_for_outlive_their_copies(rng):
    """Whoever stops in the middle leaves no copy behind that writes to memory given back."""
    from kernels.device import shim
    from kernels.device.upload import prefetched
    waited = []

    class Stream:
        def synchronize(self):
            waited.append(True)
    batches = prefetched(iter([(rng.random((2, 3)), np.arange(2))] * 3), np.dtype("float32"))
    if shim.SIMULATED:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shim, "cuda", _With(shim.cuda, stream=lambda: Stream()))
            next(batches)
            batches.close()
        assert waited
    else:
        next(batches)
        batches.close()


class _With:
    """A module with some names replaced."""

    def __init__(self, module, **names):
        self.module, self.names = module, names

    def __getattr__(self, name):
        return self.names[name] if name in self.names else getattr(self.module, name)


def test_pixels_without_taps_are_written_but_are_no_work(monkeypatch):
    """So are three of four phases of the data gradient of a 1x1 convolution with stride 2: the fourth's sum is cut as if they
    were not there, or three of four of the blocks that are to fill the device would have nothing to do."""
    from kernels.conv2d import cuda as conv
    from kernels.gemm.cuda import chunks_of
    seen = []

    def note(Q, tiles, room, written=None):
        seen.append((Q, tiles, written))
        return chunks_of(Q, tiles, room, written)
    monkeypatch.setattr(conv, "chunks_of", note)
    conv._backward_plan.__wrapped__(Window2d.of(1, 2, 0), (2, 16, 14, 10), (2, 48, 7, 5), 16, 48, 8, False)
    conv._backward_plan.__wrapped__(Window2d.of(1, 1, 0), (2, 16, 7, 5), (2, 48, 7, 5), 16, 48, 8, False)
    (Q, tiles, written), alone = seen
    assert alone == (Q, tiles, tiles)
    assert written == 4 * tiles
    assert chunks_of(4096, 2, 8, 8) == chunks_of(4096, 2, 8) != chunks_of(4096, 8, 8)
