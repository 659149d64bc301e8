"""The Strassen rung: all passes against the reference in float64, and when it leaves the work to the rung below."""

import numpy as np
import pytest
from support import close

import kernels
from kernels import Window2d, layout, threads
from kernels.conv2d import strassen, strassen_weights
from kernels.conv2d.strassen_blocks import LEFT, RIGHT
from kernels.gemm.micro import combination, registers

WINDOW = Window2d.of(1, 1, 0)
# N, C, H, W, K: pixels that no whole number of pairs covers, one pixel, several blocks; panels of every width
SHAPES = [(3, 64, 5, 7, 96), (1, 32, 1, 1, 64), (2, 160, 9, 13, 32), (1, 96, 31, 17, 224), (5, 352, 7, 6, 128)]
CHANNELS_AND_FILTERS = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(autouse=True)
def gradients_of_few_filters_too(monkeypatch):
    monkeypatch.setattr(strassen, "DEEP", 0)
    monkeypatch.setattr(strassen, "_saves", lambda *_: True)
    monkeypatch.setattr(strassen_weights, "LEAST", 0)


@pytest.fixture
def choice(monkeypatch):
    """The choice as users meet it."""
    monkeypatch.undo()


def arrays(shape, rng):
    N, C, H, W, K = shape
    return [rng.standard_normal(s).astype(np.float32) for s in ((N, C, H, W), (K, C, 1, 1), (K,), (N, K, H, W))]


def both_passes(rung, x, w, b, gy):
    with kernels.using(conv2d=rung):
        return kernels.conv2d.forward(x, w, b, WINDOW, 1, True), *kernels.conv2d.backward(gy, x, w, WINDOW)


def test_the_seven_products_give_the_product_of_blocks(rng):
    """LEFT and RIGHT, multiplied out with numbers in the place of blocks, against A @ B"""
    a, b = rng.standard_normal((2, 2)), rng.standard_normal((2, 2))
    taken = [[m[r0, c0] + sign * m[r1, c1] for r0, c0, r1, c1, sign in table] for m, table in ((a, LEFT), (b, RIGHT))]
    m1, m2, m3, m4, m5, m6, m7 = np.prod(taken, 0)
    np.testing.assert_allclose([[m1 + m4 - m5 + m7, m3 + m5], [m2 + m4, m1 - m2 + m3 + m6]], a @ b)


@CHANNELS_AND_FILTERS
def test_agrees_with_the_definition(shape, rng):
    x, w, b, gy = arrays(shape, rng)
    assert strassen.fits(x.shape, w.shape, x.dtype, WINDOW, 1)
    exact = both_passes("reference", *(a.astype(np.float64) for a in (x, w, b, gy)))
    for actual, expected in zip(both_passes("strassen", x, w, b, gy), exact):
        assert actual.dtype == np.float32
        close(actual, expected, 1e-5)


@CHANNELS_AND_FILTERS
def test_threads_change_no_bit(shape, rng, monkeypatch):
    monkeypatch.setattr("kernels.dispatch.FEW", 0)
    given = arrays(shape, rng)
    with threads.num_threads(1):
        one = both_passes("strassen", *given)
    for a, b in zip(both_passes("strassen", *given), one):
        np.testing.assert_array_equal(a, b)


# N, C, H, W, K; bytes that stay near, in a chunk: one share, shares of the pixels and of the filters, chunks, half a tile left
@pytest.mark.parametrize(("shape", "near", "chunk"), [
    ((2, 96, 5, 7, 64), 1 << 20, 1 << 20), ((6, 32, 17, 11, 128), 1 << 12, 1 << 20), ((4, 160, 31, 16, 96), 1 << 20, 1 << 16),
    ((2, 544, 8, 9, 192), 1 << 14, 1 << 10), ((1, 32, 1, 2, 32), 1 << 20, 1 << 20)], ids=str)
def test_weight_gradients_in_every_partition(shape, near, chunk, rng, monkeypatch):
    """Also of slices of wider images."""
    monkeypatch.setattr(strassen_weights, "NEAR", near)
    monkeypatch.setattr(strassen_weights, "CHUNK", chunk)
    x, w, _, gy = (layout.channels_last(a) if a.ndim == 4 else a for a in arrays(shape, rng))
    exact = np.tensordot(gy.astype(np.float64), x.astype(np.float64), ((0, 2, 3), (0, 2, 3)))
    assert strassen_weights.fits(gy[:, 0].size, gy.shape[1], x.shape[1])
    gw = strassen_weights.weight_gradient(gy, x, w)
    close(gw[:, :, 0, 0], exact, 1e-6)
    wide = layout.channels_last(rng.standard_normal((len(x), x.shape[1] + 48, *x.shape[2:])).astype(np.float32))
    wide[:, 16:-32] = x
    np.testing.assert_array_equal(strassen_weights.weight_gradient(gy, wide[:, 16:-32], w), gw)
    for count in (1, 14):
        monkeypatch.setattr(strassen_weights, "get_num_threads", lambda count=count: count)
        np.testing.assert_array_equal(strassen_weights.weight_gradient(gy, x, w), gw)


def test_pixels_without_a_partner_are_left_to_the_rung_below(rng):
    x, w, _, gy = arrays((3, 64, 5, 7, 96), rng)
    assert not strassen_weights.fits(gy[:, 0].size, gy.shape[1], x.shape[1])
    gradients = []
    for rung in ("strassen", "implicit_gemm"):
        with kernels.using(conv2d=rung):
            gradients.append(kernels.conv2d.backward(gy, x, w, WINDOW, 1, (False, True, True)))
    for a, b in zip(*gradients):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("module", "name", "least", "result"), [(strassen, "DEEP", 96, 0), (strassen_weights, "LEAST", 17, 1)])
def test_gradients_of_few_filters_are_left_to_the_rung_below(module, name, least, result, rng, monkeypatch):
    x, w, _, gy = arrays((2, 64, 5, 7, 96), rng)
    with kernels.using(conv2d="implicit_gemm"):
        below = kernels.conv2d.backward(gy, x, w, WINDOW)[result]
    for limit, same in ((least + 1, True), (least, False)):
        monkeypatch.setattr(module, name, limit)
        with kernels.using(conv2d="strassen"):
            assert np.array_equal(kernels.conv2d.backward(gy, x, w, WINDOW)[result], below) == same


@CHANNELS_AND_FILTERS
def test_adds_to_the_gradient_that_is_there(shape, rng):
    x, w, _, gy = arrays(shape, rng)
    there = layout.channels_last(rng.standard_normal(x.shape).astype(np.float32))
    with kernels.using(conv2d="strassen"):
        alone = kernels.conv2d.backward(gy, x, w, WINDOW, 1, (True, False, False))[0]
        onto = there.copy(order="K")
        both = kernels.conv2d.backward(gy, x, w, WINDOW, 1, (True, False, False), onto)[0]
    assert both is onto
    close(both, there + alone, 1e-6)


def test_reads_and_writes_slices_of_channels(rng):
    """Of wider images, as in a DenseNet's block: nothing beside them is touched."""
    x, w, b, _ = arrays((2, 64, 9, 5, 32), rng)
    wide, out = (layout.channels_last(rng.standard_normal((2, C, 9, 5)).astype(np.float32)) for C in (160, 96))
    wide[:, 32:96], before = x, out.copy()
    with kernels.using(conv2d="strassen"):
        result = kernels.conv2d.forward(wide[:, 32:96], w, b, WINDOW, out=out[:, 32:64])
        alone = kernels.conv2d.forward(x, w, b, WINDOW)
    np.testing.assert_array_equal(result, alone)
    np.testing.assert_array_equal(out[:, 32:64], alone)
    np.testing.assert_array_equal(out[:, :32], before[:, :32])
    np.testing.assert_array_equal(out[:, 64:], before[:, 64:])


def test_large_results_past_the_caches(rng, monkeypatch):
    x, w, b, gy = arrays((2, 64, 40, 37, 128), rng)
    y = both_passes("strassen", x, w, b, gy)[0]
    monkeypatch.setattr("kernels.streaming.LARGE", 1 << 40)
    np.testing.assert_array_equal(both_passes("strassen", x, w, b, gy)[0], y)


def test_pays_where_channels_filters_and_pixels_are_many(rng, choice):
    x, w, _, _ = arrays((8, 256, 16, 16, 256), rng)
    assert kernels.conv2d._best("forward", x, w, None, WINDOW, 1) == "strassen"
    assert strassen.pays("forward", x.shape, w.shape, x.dtype, WINDOW, 1)
    for x_shape, w_shape in [((2, 256, 16, 16), (256, 256, 1, 1)), ((8, 96, 16, 16), (256, 96, 1, 1)),
                             ((8, 256, 16, 16), (96, 256, 1, 1))]:
        assert not strassen.pays("forward", x_shape, w_shape, x.dtype, WINDOW, 1)


def test_pays_for_fewer_pixels_where_weights_are_packed_once(rng, choice):
    x, w, _, _ = arrays((2, 256, 16, 16, 256), rng)
    assert kernels.conv2d._best("forward", x, w, None, WINDOW, 1) == "implicit_gemm"
    w.flags.writeable = False
    assert kernels.conv2d._best("forward", x, w, None, WINDOW, 1) == "strassen"


def test_weight_gradients_pay_for_fewer_filters_where_pixels_are_near(rng, choice):
    for pixels, filters, channels in [(3136, 128, 256), (12544, 128, 512)]:
        assert not strassen_weights.pays(pixels, filters, channels)
    for pixels, filters, channels in [(3136, 128, 512), (12544, 512, 512)]:
        assert strassen_weights.pays(pixels, filters, channels)
    assert not strassen_weights.pays(12544, 512, 512, dense=False)
    x, w, _, gy = arrays((16, 512, 7, 7, 128), rng)
    assert kernels.conv2d._best("forward", x, w, None, WINDOW, 1) == "implicit_gemm"
    assert kernels.conv2d._best("backward", gy, x, w, WINDOW, 1) == "strassen"


@pytest.mark.parametrize(("stride", "H", "W"), [(2, 9, 8), ((3, 2), 10, 13), ((1, 2), 6, 5)], ids=str)
def test_gradients_of_larger_strides(stride, H, W, rng):
    """Of pixels that are seen and of those that are not, new and added to what is there; forward, the rung below runs."""
    window = Window2d.of(1, stride, 0)
    x, w, b, _ = arrays((2, 64, H, W, 96), rng)
    gy = rng.standard_normal((2, 96, *window.output_size(H, W))).astype(np.float32)
    there = layout.channels_last(rng.standard_normal(x.shape).astype(np.float32))
    assert strassen.fits(x.shape, w.shape, x.dtype, window, 1)
    with kernels.using(conv2d="reference"):
        exact = kernels.conv2d.backward(*(a.astype(np.float64) for a in (gy, x, w)), window)
    with kernels.using(conv2d="strassen"):
        for actual, expected in zip(kernels.conv2d.backward(gy, x, w, window), exact):
            close(actual, expected, 1e-6)
        onto = there.copy(order="K")
        close(kernels.conv2d.backward(gy, x, w, window, 1, (True, False, False), onto)[0], there + exact[0], 1e-6)
        y = kernels.conv2d.forward(x, w, b, window)
    with kernels.using(conv2d="implicit_gemm"):
        np.testing.assert_array_equal(y, kernels.conv2d.forward(x, w, b, window))


@pytest.mark.parametrize("change", ["float64", "padding", "kernel", "groups", "channels"])
def test_leaves_other_convolutions_to_the_rung_below(change, rng):
    x, w, b, gy = arrays((2, 64, 9, 8, 64), rng)
    window, groups = WINDOW, 1
    if change == "float64":
        x, w, b, gy = (a.astype(np.float64) for a in (x, w, b, gy))
    elif change == "channels":
        x, w = x[:, :57].copy(), w[:, :57].copy()          # odd: no vectors of any width fill the halves
    elif change == "groups":
        groups, w = 2, w[:, :32].copy()
    else:
        window = Window2d.of(*{"padding": (1, 1, 1), "kernel": (2, 1, 0)}[change])
        w = rng.standard_normal((64, 64, *window[:2])).astype(np.float32)
        gy = rng.standard_normal((2, 64, *window.output_size(9, 8))).astype(np.float32)
    assert not strassen.fits(x.shape, w.shape, x.dtype, window, groups)
    results = []
    for rung in ("strassen", "implicit_gemm"):
        with kernels.using(conv2d=rung):
            y, gradients = kernels.conv2d.forward(x, w, b, window, groups), kernels.conv2d.backward(gy, x, w, window, groups)
            results.append((y, *gradients))
    for a, b_ in zip(*results):
        np.testing.assert_array_equal(a, b_)


@pytest.mark.jit
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_combinations_in_every_width(vector_bytes, dtype, rng):
    """Rows of two sources to two targets, with what may be done last; beyond the rows nothing is written."""
    if vector_bytes > registers()[0]:
        pytest.skip(f"this processor's vectors have {registers()[0]} bytes")
    from numba import njit
    combine = combination(lambda a, b: [a - b, a + 2 * b], vector_bytes)

    @njit
    def run(x, y, lanes, last):
        size = x.itemsize
        combine((x.ctypes.data, x.ctypes.data + x.strides[0], 2 * x.shape[1]),
                (y.ctypes.data, y.ctypes.data + y.strides[0] * 3, y.shape[1]), (3, 2 * lanes * size // vector_bytes), last, x)

    lanes = vector_bytes // np.dtype(dtype).itemsize
    x = rng.standard_normal((6, 2 * lanes + 1)).astype(dtype)
    a, b = x[::2, :-1], x[1::2, :-1]
    for relu, adds in ((0, 0), (1, 0), (0, 1)):
        there = rng.standard_normal((6, 2 * lanes + 3)).astype(dtype)
        y = there.copy()
        run(x, y, lanes, (relu, 0, adds))
        for got, expected, before in ((y[:3], a - b, there[:3]), (y[3:], a + 2 * b, there[3:])):
            expected = np.maximum(expected, 0) if relu else expected
            expected = before[:, :2 * lanes] + expected if adds else expected
            np.testing.assert_allclose(got[:, :2 * lanes], expected, rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(got[:, 2 * lanes:], before[:, 2 * lanes:])
