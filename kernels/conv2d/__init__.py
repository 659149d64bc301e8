"""Two-dimensional convolution (cross-correlation, as every framework calls it).

    y[n, k, i, j] = bias[k] + sum over c, r, s of x[n, c, i·stride + r·dilation - pad, j·…] · weight[k, c, r, s]

x (N, C, H, W), weight (K, C/groups, R, S), bias (K,) or None, y (N, K, OH, OW). Group g of the K outputs sees group g of
the C inputs. Source: LeCun et al. 1998, section II.A; groups: Krizhevsky et al. 2012, section 3.5.
"""

import functools

from kernels import layout
from kernels.activation import accumulate
from kernels.concat import copy_into
from kernels.dispatch import Room, expect_rank, expect_shape, misfit
from kernels.errors import ShapeError

HUGE = 128 << 20        # bytes of a gradient that is worth a copy of each image not to hold twice


def _best(function, *args):
    """Winograd and Strassen where they pay, shuffles for small groups, folding for few channels; the arguments are forward's or
    backward's."""
    x, weight, window, groups = (args[0], args[1], *args[3:5]) if function == "forward" else args[1:5]
    return _best_for(function, x.shape, weight.shape, x.dtype, window, groups, weight.flags.writeable)


@functools.lru_cache(1024)
def _best_for(function, *described):
    _, weight_shape, dtype, window, groups, _ = described
    if function == "backward" and room.rung("folding").fits(weight_shape, dtype, window, groups):
        return "folding"
    if groups > 1 and room.rung("grouped").fits(weight_shape, dtype, groups):
        return "grouped"
    if room.rung("strassen").pays(function, *described):
        return "strassen"
    return "winograd" if room.rung("winograd").pays(*described) else "implicit_gemm"


room = Room("conv2d", ["reference", "im2col", "implicit_gemm", "folding", "grouped", "strassen", "winograd"], _best)


def ordered(x):
    """x in the order that the rung in use reads, a copy where it is not: for callers that need it forward and backward."""
    c_order = x.ndim != 4 or x.device != "cpu" or room.pinned() in ("reference", "im2col")
    return x if c_order else layout.channels_last(x)


def forward(x, weight, bias, window, groups=1, relu=False, out=None):
    """y (N, K, OH, OW); see the module for the formula. Padding reads as zeros; with relu what is below 0 becomes 0, in the
    same pass. out: some channels of a channels-last array for y to be written to. Raises ShapeError, DTypeError."""
    shape = _check(x, weight, window, groups)
    expect_shape("conv2d: bias", bias, weight.shape[:1])
    expect_shape("conv2d: out", out, shape)
    if out is None:
        return room.call("forward", x, weight, bias, window, groups, bool(relu))
    if _in_place(x):
        return room.call("forward", x, weight, bias, window, groups, bool(relu), out)
    copy_into(out, room.call("forward", x, weight, bias, window, groups, bool(relu)))
    return out


def backward(gy, x, weight, window, groups=1, needs=(True, True, True), onto=None, reuse=False):
    """(gx, gweight, gbias) for the upstream gradient gy (N, K, OH, OW); None where `needs` says False.

    onto: an array of x's shape that gx is added to, and which is returned in its place. reuse: gx may take gy's memory, which
    is then lost.
    """
    expect_shape("conv2d: gy", gy, _check(x, weight, window, groups))
    expect_shape("conv2d: onto", onto, x.shape)
    if onto is None and needs[0] and reuse and _takes_over(gy, x):
        return _backward_over(gy, x, weight, window, groups, needs)
    if onto is None or not needs[0]:
        return room.call("backward", gy, x, weight, window, groups, needs)
    if _in_place(x) and layout.pitch(onto) is not None:
        return room.call("backward", gy, x, weight, window, groups, needs, onto)
    gx, gweight, gbias = room.call("backward", gy, x, weight, window, groups, needs)
    accumulate(onto, gx)
    return onto, gweight, gbias


def _takes_over(gy, x):
    """Whether gx is so large that a step's memory would grow by it, and fits gy's."""
    return x.device == "cpu" and x.nbytes >= HUGE and gy.shape == x.shape and layout.pitch(gy) is not None


def _backward_over(gy, x, weight, window, groups, needs):
    """gx over gy, image by image: a pixel's neighbours, whose gradients it needs as they were, are of its own image."""
    _, gweight, gbias = room.call("backward", gy, x, weight, window, groups, (False, *needs[1:]))
    for n in range(len(gy)):
        some = slice(n, n + 1)
        gx, _, _ = room.call("backward", gy[some], x[some], weight, window, groups, (True, False, False))
        copy_into(gy[some], gx)
    return gy, gweight, gbias


def _in_place(x):
    """Whether the rung in use writes its results into arrays that it is given."""
    return x.device == "cpu" and room.pinned() not in ("reference", "im2col")


def _check(x, weight, window, groups):
    """The shape of y; raises ShapeError."""
    expect_rank("conv2d: x", x, "(N, C, H, W)")
    expect_rank("conv2d: weight", weight, "(K, C/groups, R, S)")
    return _shape(x.shape, weight.shape, window, groups)


@functools.lru_cache(1024)
def _shape(x_shape, weight_shape, window, groups):
    (N, C, H, W), K = x_shape, weight_shape[0]
    for name, channels in (("in_channels", C), ("out_channels", K)):
        if groups < 1 or channels % groups:
            fits = ", ".join(str(g) for g in range(1, C + 1) if C % g == 0 and K % g == 0)
            raise ShapeError(f"conv2d: {name} {channels} is not divisible by groups {groups}; choose groups from {fits}")
    fits = K, C // groups, window.kernel_h, window.kernel_w
    if weight_shape != fits:
        raise misfit("conv2d: weight", weight_shape, fits)
    return N, K, *window.output_size(H, W)
