"""Pages of dead arrays are kept for the next ones, gradients lie where the last ones did; all is given back on request."""

import gc
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from kernels import conv2d, layout, linear, memory
from kernels.geometry import Window2d

STATUS = Path("/proc/self/status")


def resident():
    """Bytes of this process in memory."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux" or not STATUS.exists(), reason="reads Linux's /proc")
def test_pages_stay_and_go():
    if not memory.keep_pages():
        pytest.skip("this C library has no mallopt")
    memory.release()
    before = resident()
    array = np.ones(64 << 20, np.uint8)
    del array
    assert resident() > before + (32 << 20)
    assert memory.release()
    assert resident() < before + (32 << 20)


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_function", lambda name: None)
    monkeypatch.setitem(memory._state, "kept", False)
    assert not memory.keep_pages()
    assert not memory.release()


def place(array):
    return array.__array_interface__["data"][0]


def test_a_gradient_is_where_the_last_one_was_unless_that_is_held():
    weight = np.ones((3, 5), np.float32)
    first = memory.gradient_of(weight)
    assert (first.shape, first.dtype, place(first) % 64) == ((3, 5), np.float32, 0)
    assert first.flags.c_contiguous
    held = first[1:, ::2].T                     # a view of it will do
    del first
    second = memory.gradient_of(weight)
    second[:] = 1
    held[:] = 2
    assert (second == 1).all()
    at = place(second)
    del second
    third = memory.gradient_of(weight)
    assert place(third) == at
    assert place(memory.gradient_of(np.ones((3, 5), np.float32))) != at


def test_a_gradient_of_another_shape_or_dtype_is_new():
    weight = np.ones((4, 6), np.float32)
    memory.gradient_of(weight)
    weight.resize((2, 12), refcheck=False)
    assert memory.gradient_of(weight).shape == (2, 12)


def test_places_of_gradients_go_with_the_weights_and_on_request():
    weight = np.ones((7, 3))
    memory.gradient_of(weight)
    key = id(weight)
    assert key in memory._gradients
    del weight
    gc.collect()
    assert key not in memory._gradients
    weight = np.ones((7, 3))
    memory.gradient_of(weight)
    memory.release()
    assert not memory._gradients
    memory.gradient_of(weight)
    assert id(weight) in memory._gradients


def test_threads_never_share_a_gradient():
    weight, taken, barrier = np.ones((2, 2)), [], threading.Barrier(8)

    def take():
        barrier.wait()
        for _ in range(200):
            taken.append(memory.gradient_of(weight))
    running = [threading.Thread(target=take) for _ in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert len({place(array) for array in taken}) == len(taken) == 1600


@pytest.mark.parametrize("groups", [1, 8])
def test_gradients_of_layers_keep_their_place_from_step_to_step(groups, rng):
    """Held ones keep their values."""
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    x, gy = (layout.channels_last(draw(2, 32, 6, 5)) for _ in range(2))
    w, window = draw(32, 32 // groups, 3, 3), Window2d.of(3, 1, 1)
    step = lambda: conv2d.backward(gy, x, w, window, groups, (False, True, False))[1]
    first = step()
    values, at = first.copy(), place(first)
    second = step()
    np.testing.assert_array_equal(first, values)
    np.testing.assert_array_equal(second, values)
    assert place(second) != at
    at = place(second)
    del second
    assert place(step()) == at
    matrix, rows, upstream = draw(48, 32), draw(3, 32), draw(3, 48)
    at = place(linear.backward(upstream, rows, matrix)[1])
    assert place(linear.backward(upstream, rows, matrix)[1]) == at
