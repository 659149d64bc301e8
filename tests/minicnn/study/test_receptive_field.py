"""Receptive fields against the support of gradients: with positive weights a unit's gradient is not zero just where it sees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from minicnn import Tensor, ops
from minicnn.autograd import observing
from minicnn.study.receptive_field import FieldObserver, Span

SIDES = (29, 23)


@pytest.fixture(autouse=True)
def _reference():
    with kernels.using(conv2d="reference", pool2d="reference"):
        yield


def check_all_units(function, sides=SIDES, exact=True, holes=False):
    """Compare the support of the gradients of some units with what the observer says they see.

    Nothing outside the field may be seen. The middle unit sees all of it; border units too if `exact`, that is unless
    some layer drops pixels at the border or its padding stands for pixels. With holes only the ends must agree.
    """
    x = Tensor(np.ones((1, 2, *sides)), requires_grad=True)
    observer = FieldObserver(x)
    with observing(observer):
        y = function(x)
    field = observer.of(y)
    rows, columns = y.shape[2:]
    middle = rows // 2, columns // 2
    for unit in {(0, 0), middle, (rows - 1, columns - 1), (rows - 1, 0)}:
        seen = support(function, x, y.shape, unit)
        pixels = [list(span.pixels(u, side)) for span, u, side in zip(field, unit, sides)]
        expected = np.zeros(sides, bool)
        expected[np.ix_(*pixels)] = True
        assert not (seen & ~expected).any()
        inside = all(len(p) == span.size for p, span in zip(pixels, field))
        if (exact and not holes) or (unit == middle and inside and not holes):
            np.testing.assert_array_equal(seen, expected)
        elif unit == middle and inside:
            found = [np.flatnonzero(seen.any(axis)) for axis in (1, 0)]
            assert [(f.min(), f.max()) for f in found] == [(p[0], p[-1]) for p in pixels]


def support(function, x, shape, unit):
    """Where the gradient of one unit (all its channels) at the input is not zero: (H, W) of bool."""
    x.grad = None
    gy = np.zeros(shape)
    gy[(0, slice(None), *unit)] = 1
    function(x).backward(gy)
    return np.abs(x.grad).sum((0, 1)) > 0


def conv(x, kernel, stride=1, padding=0, dilation=1):
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    return ops.conv2d(x, np.ones((2, 2, *kernel)), None, stride, padding, dilation)


CHAINS = {
    "one window": lambda x: conv(x, 3),
    "stride and padding": lambda x: conv(conv(x, 3, 2, 1), 5, 2, 2),
    "unequal sides": lambda x: conv(conv(x, (1, 5), (1, 2), (0, 2)), (3, 2), (2, 1)),
    "asymmetric padding": lambda x: conv(conv(x, 4, 1, ((2, 1), (0, 3))), 3, 2, ((0, 1), (1, 0))),
    "average pooling": lambda x: conv(ops.avg_pool2d(conv(x, 3), 2), 3, 1, 1),
    "pad and slice": lambda x: conv(ops.pad(x, ((0, 0), (0, 0), (1, 0), (2, 1)))[:, :, 1::2, ::2], 3),
    "reshape of channels": lambda x: conv(ops.reshape(ops.transpose(ops.reshape(conv(x, 3), (1, 2, 1, 27, 21)),
                                                                    (0, 2, 1, 3, 4)), (1, 2, 27, 21)), 3),
    "batch norm and relu": lambda x: ops.relu(ops.batch_norm(conv(x, 3), np.zeros(2), np.ones(2))),
    "lrn": lambda x: ops.local_response_norm(conv(x, 3), 3),
}


DROPPING = {"average pooling", "pad and slice"}


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name):
    check_all_units(CHAINS[name], exact=name not in DROPPING, holes=name == "pad and slice")


BRANCHES = {
    "residual": lambda x: conv(conv(x, 3, 1, 1), 3, 1, 1) + x,
    "concatenated": lambda x: ops.concat([conv(x, 1), conv(x, 3, 1, 1), conv(x, 5, 1, 2)]),
    "strided shortcut": lambda x: conv(conv(x, 3, 2, 1), 3, 1, 1) + x[:, :, ::2, ::2],
    "one branch shifted": lambda x: conv(x, 3, 1, ((2, 0), (2, 0))) + conv(x, 3, 1, ((0, 2), (0, 2))),
    "gated by a global average": lambda x: conv(x, 3, 1, 1) * ops.adaptive_avg_pool2d(x, 1),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_see_what_any_of_them_sees(name):
    check_all_units(BRANCHES[name], holes=name == "one branch shifted")


def test_dilation_leaves_holes_inside_the_field():
    check_all_units(lambda x: conv(x, 3, 1, 2, 2), holes=True)
    check_all_units(lambda x: conv(conv(x, 2, 1, 0, 3), 3, 2, 1, 2), sides=(31, 31), holes=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), min_size=1,
                max_size=3))
def test_any_chain_of_windows(layers):
    def function(x):
        for kernel, stride, padding, dilation in layers:
            x = conv(x, kernel, stride, min(padding, (kernel - 1) * dilation), dilation)
        return x
    check_all_units(function, sides=(61, 57), holes=True)


@pytest.mark.parametrize("function", [
    lambda x: ops.global_avg_pool2d(conv(x, 3)),
    lambda x: ops.flatten(conv(x, 3)),
    lambda x: ops.mean(conv(x, 3), (2, 3)),
    lambda x: ops.adaptive_avg_pool2d(conv(x, 3), (4, 4)),      # 27 x 21 pixels do not fall into 4 x 4 equal cells
    lambda x: ops.transpose(conv(x, 3), (0, 1, 3, 2)),
    lambda x: conv(x, 3)[:, :, ::-1],
    lambda x: ops.softmax(conv(x, 3), -1) + ops.softmax(conv(x, 3), -2),
], ids=["global average", "flatten", "mean", "uneven cells", "transpose", "mirror", "softmax over pixels"])
def test_layers_without_a_spatial_order_see_what_all_units_before_saw(function):
    x = Tensor(np.ones((1, 2, *SIDES)))
    observer = FieldObserver(x)
    with observing(observer):
        y = function(x)
    assert observer.of(y).height == Span(0, 29, 0)


def test_even_adaptive_cells_are_windows():
    check_all_units(lambda x: ops.adaptive_avg_pool2d(x, (4, 3)), sides=(8, 9))


def test_what_does_not_come_from_the_image_has_no_field():
    x, other = Tensor(np.ones((1, 2, 8, 8))), Tensor(np.ones((1, 2, 8, 8)))
    observer = FieldObserver(x)
    with observing(observer):
        y, z = conv(other, 3), conv(x, 3)
    assert observer.of(y) is None
    assert observer.of(z).size == (3, 3)
    assert str(observer.of(z)) == "3"
