"""The window arithmetic against brute force, and PyTorch's rule for ceil_mode against its own figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import Window2d
from kernels.errors import ShapeError


@given(size=st.integers(1, 12), kernel=st.integers(1, 4), stride=st.integers(1, 4), before=st.integers(0, 3),
       after=st.integers(0, 3), dilation=st.integers(1, 3), ceil=st.booleans())
def test_output_size_counts_positions(size, kernel, stride, before, after, dilation, ceil):
    window = Window2d.of((kernel, 1), (stride, 1), ((before, after), (0, 0)), (dilation, 1), ceil)
    extent = (kernel - 1) * dilation + 1
    starts = range(0, size + before + after, stride)
    fitting = [s for s in starts if s + extent <= size + before + after]
    if not fitting:
        with pytest.raises(ShapeError, match="does not fit the input height"):
            window.output_size(size, 5)
        return
    expected = len(fitting)
    if ceil and fitting[-1] + extent < size + before + after and fitting[-1] + stride < size + before:
        expected += 1
    assert window.output_size(size, 5) == (expected, 5)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "expected"), [
    (112, 3, 2, 0, 56), (7, 3, 2, 1, 4), (8, 2, 2, 0, 4), (5, 2, 2, 1, 3), (4, 3, 2, 1, 3), (6, 3, 3, 0, 2), (7, 3, 3, 1, 3)])
def test_ceil_mode_as_pytorch(size, kernel, stride, padding, expected):
    """Output sizes of torch.nn.functional.max_pool2d(..., ceil_mode=True), PyTorch 2.13."""
    assert Window2d.of(kernel, stride, padding, 1, True).output_size(size, size) == (expected, expected)


def test_padding_forms():
    assert Window2d.of(3, padding=1)[4:8] == (1, 1, 1, 1)
    assert Window2d.of(3, padding=(1, 2))[4:8] == (1, 1, 2, 2)
    assert Window2d.of(3, padding=((1, 2), (3, 4)))[4:8] == (1, 2, 3, 4)
    assert Window2d.of((3, 4), padding="same")[4:8] == (1, 1, 1, 2)
    assert Window2d.of((3, 4), padding="valid")[4:8] == (0, 0, 0, 0)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"kernel_size": 0}, "kernel_size 0 is not an integer of at least 1"),
    ({"kernel_size": (3, 3, 3)}, "kernel_size .* or a pair"),
    ({"kernel_size": 3, "stride": 0}, "stride 0 is not an integer of at least 1"),
    ({"kernel_size": 3, "padding": -1}, "padding -1 is not an integer of at least 0"),
    ({"kernel_size": 3, "padding": "full"}, "padding 'full' is not 'same' or 'valid'"),
    ({"kernel_size": 3, "stride": 2, "padding": "same"}, "'same' needs stride 1, not"),
    ({"kernel_size": 3, "padding": (1, 1, 1)}, "is not an int, .*'same' or 'valid'"),
    ({"kernel_size": 2.5}, "kernel_size 2.5 is not an integer"),
])
def test_bad_windows_are_refused(arguments, message):
    with pytest.raises(ShapeError, match=message):
        Window2d.of(**arguments)


def test_windows_of_padding_alone_are_refused():
    with pytest.raises(ShapeError, match="window 0 along the height .* covers padding alone"):
        Window2d.of(2, 1, ((3, 0), (0, 0))).check_sees_pixels(4, 4)
