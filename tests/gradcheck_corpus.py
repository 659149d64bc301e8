"""A corpus of wrong gradients, as they are made; gradcheck_planting.py says how they are planted."""

import numpy as np
from gradcheck_planting import (
    LABELS,
    STATISTICS,
    Bug,
    first_input_kept,
    from_shared_state,
    noisy,
    not_cleared,
    on,
    one_buffer,
    only,
    scale,
    set_at,
    shared_state,
    shift,
    stale_gradient,
    swap,
    upstream,
    upstream_of,
    wide,
    without,
    writes_to_gy,
    writes_to_input,
    zero,
)

import kernels

# Batch norm, by its formula, with terms to leave out.

def bn(mean=True, var=True, unbiased=False, eps=None, weighted=True, gweight=None):
    def backward(ctx, gy):
        x, weight = ctx.x[:2]
        count = x.size // x.shape[1]
        xhat = (x - wide(ctx.op.mean)) / np.sqrt(wide(ctx.op.var) + (ctx.op.eps if eps is None else eps))
        through = gy
        if mean:
            through = through - wide(gy.mean((0, 2, 3)))
        if var:
            through = through - xhat * wide((gy * xhat).sum((0, 2, 3)) / (count - unbiased))
        gx = through / np.sqrt(wide(ctx.op.var) + ctx.op.eps) * (wide(weight) if weighted else 1)
        return gx, (gy * (xhat if gweight is None else gweight(ctx, xhat))).sum((0, 2, 3)), gy.sum((0, 2, 3))
    return backward


def lrn_scale(op, x):
    """s of the op's formula."""
    channels = range(x.shape[1])
    squares = [(x[:, max(0, c - op.size // 2):c + (op.size - 1) // 2 + 1] ** 2).sum(1) for c in channels]
    return op.k + op.alpha / op.size * np.stack(squares, 1)


def lrn(cross=True, before=2, after=1, exponent=-1, two=2, divided=True, times_x=True):
    """Channel c is seen by c - after' .. ; before and after as of the op: size 4 sees 2 before and 1 after."""
    def backward(ctx, gy):
        op, x = ctx.op, ctx.x[0]
        s = lrn_scale(op, x)
        share = gy * x * s ** (-op.beta + exponent)
        gx = gy * s ** -op.beta
        factor = two * op.alpha * op.beta / (op.size if divided else 1)
        for c in range(x.shape[1] if cross else 0):
            seen_by = share[:, max(0, c - after):c + before + 1].sum(1)
            gx[:, c] -= factor * seen_by * (x[:, c] if times_x else 1)
        return (gx,)
    return backward


def lrn_own_channel(ctx, gy):
    op, x = ctx.op, ctx.x[0]
    s = lrn_scale(op, x)
    return (gy * s ** -op.beta - 2 * op.alpha * op.beta / op.size * x * gy * x * s ** (-op.beta - 1),)


def pool_overwrites(ctx, gy):
    """Where windows overlap the last one wins in place of the sum."""
    gx, window = np.zeros_like(ctx.x[0]), ctx.op.window
    n, c = np.ogrid[:gx.shape[0], :gx.shape[1]]
    for i, j in np.ndindex(gy.shape[2:]):
        r, s = divmod(ctx.op.places[:, :, i, j].astype(int), window.kernel_w)
        gx[n, c, i * window.stride_h - window.top + r, j * window.stride_w - window.left + s] = gy[:, :, i, j]
    return (gx,)


def to_every_tie(ctx, gy):
    """Every value that equals the maximum gets the whole gradient."""
    window, x = ctx.op.window, ctx.x[0]
    gx = np.zeros_like(x)
    for i in range(gy.shape[2]):
        for j in range(gy.shape[3]):
            h, w = i * window.stride_h - window.top, j * window.stride_w - window.left
            at = (..., slice(max(h, 0), h + window.kernel_h), slice(max(w, 0), w + window.kernel_w))
            gx[at] += gy[:, :, i, j, None, None] * (x[at] == ctx.y[:, :, i, j, None, None])
    return (gx,)


def to_all_of_the_window(ctx, gy):
    window = ctx.op.window
    return (kernels.pool2d.avg_backward(gy * window.kernel_h * window.kernel_w, window, *ctx.x[0].shape[2:]),)


def ties(shape):
    """Few different values, so that many windows have several maxima."""
    return lambda rng: [rng.integers(0, 3, shape) / 2.0]


def with_zeros(shape):
    return lambda rng: [np.where(rng.random(shape) < 0.3, 0.0, rng.standard_normal(shape))]


def relu_where(mask):
    return lambda ctx, gy: (gy * mask(ctx.x[0], gy),)


def conv_backward(ctx, gy):
    """The convolution's alone, without the mask of the ReLU behind it."""
    return list(kernels.conv2d.backward(gy, *ctx.x[:2], ctx.op.window))


def norm_backward(ctx, gy):
    """The batch norm's alone, without the mask of the ReLU behind it."""
    op = ctx.op
    return list(kernels.batch_norm.backward(gy, ctx.x[0], op.mean, op.var, op.weight, op.eps, op.batch_statistics))


def unmasked(i, alone):
    """Input i's gradient by the backward pass `alone`, which leaves the ReLU out."""
    return lambda ctx, gy: [alone(ctx, gy)[k] if k == i else g for k, g in enumerate(ctx.right(gy))]


def mask_last(ctx, gy):
    """The ReLU's mask on gx, behind the batch norm, in the place of gy."""
    gx, *rest = norm_backward(ctx, gy)
    return [gx * (ctx.y > 0), *rest]


def mask_without_the_sum(ctx, gy):
    """The mask of the batch norm's output, to which the shortcut is not added yet."""
    op = ctx.op
    y = kernels.batch_norm.normalize(ctx.x[0], op.mean, op.var, op.weight, op.bias, op.eps)
    masked = gy * (y > 0)
    return [*norm_backward(ctx, masked), masked]


def softmax_of(ctx):
    return np.exp(ctx.op.logp)


def target(smoothing=0.1, labels=LABELS, K=6):
    t = np.full((len(labels), K), smoothing / K)
    t[np.arange(len(labels)), labels] += 1 - smoothing
    return t


def cross_entropy(change):
    return lambda ctx, gy: (change(softmax_of(ctx), gy),)


def group_order(g):
    """Output channels counted groups-last."""
    return g.reshape(2, 3, *g.shape[1:]).swapaxes(0, 1).reshape(g.shape)


FACTOR, ZERO, SIGN, SUM, CROSS = {"constant factor"}, {"zero"}, {"sign"}, {"missing sum"}, {"dropped cross term"}
AXES, FLIP, SHIFT, SWAP = {"transposed axes"}, {"flipped axes"}, {"shifted window"}, {"wrong argument"}
PART, STALE, MASK, TIE = {"missing part", "mask"}, {"stale buffer"}, {"mask"}, {"tie rule"}
FORWARD, GY, ELEMENT = {"wrong forward"}, {"upstream gradient"}, {"elementwise factor"}

BUGS = [
    # Convolution
    Bug("filter not turned round in gx", "conv2d 3x3", FLIP, lambda ctx, gy: [
        kernels.conv2d.backward(gy, ctx.x[0], np.ascontiguousarray(ctx.x[1][:, :, ::-1, ::-1]), ctx.op.window)[0],
        *ctx.right(gy)[1:]]),
    Bug("filter axes swapped in gx", "conv2d 3x3", AXES, lambda ctx, gy: [
        kernels.conv2d.backward(gy, ctx.x[0], np.ascontiguousarray(ctx.x[1].swapaxes(0, 1)), ctx.op.window)[0],
        *ctx.right(gy)[1:]]),
    Bug("gx one row down", "conv2d", SHIFT, on(0, shift(1, 2))),
    Bug("gx one column left", "conv2d in groups", SHIFT, on(0, shift(-1, 3))),
    Bug("gx with gy one column off", "conv2d", SHIFT, upstream_of(0, shift(1, 3))),
    Bug("gweight with gy one row off", "conv2d", SHIFT, upstream_of(1, shift(-1, 2))),
    Bug("gweight rotated", "conv2d 3x3", FLIP, on(1, lambda g: g[:, :, ::-1, ::-1])),
    Bug("gweight rows and columns swapped", "conv2d 3x3", AXES, on(1, lambda g: g.transpose(0, 1, 3, 2))),
    Bug("gweight inputs and outputs swapped", "conv2d 3x3", AXES, on(1, lambda g: g.swapaxes(0, 1))),
    Bug("gweight in the memory order of (C, K)", "conv2d", AXES, on(1, lambda g: g.swapaxes(0, 1).reshape(g.shape))),
    Bug("gweight of the first image", "conv2d", SUM, upstream_of(1, only(0, 0))),
    Bug("gweight of the last image", "conv2d in groups", SUM, upstream_of(1, only(0, 1))),
    Bug("gweight without the last row of outputs", "conv2d", SUM, upstream_of(1, without(2, 4))),
    Bug("gweight a mean over the batch", "conv2d", FACTOR, scale(1, 0.5)),
    Bug("gweight groups mixed up", "conv2d in groups", {"permuted"}, on(1, group_order)),
    Bug("gweight lacks a tap", "conv2d", PART, on(1, set_at((..., 2, 1), 0))),
    Bug("gx zero at the right border", "conv2d", PART, on(0, set_at((..., 3), 0))),
    Bug("gx zero for the second group", "conv2d in groups", PART, on(0, set_at((slice(None), slice(2, 4)), 0))),
    Bug("gx lacks the last output channel", "conv2d", SUM, upstream_of(0, without(1, 3))),
    Bug("gbias of one column", "conv2d", SUM, upstream_of(2, only(3, 0))),
    Bug("gbias of one row", "conv2d", SUM, upstream_of(2, only(2, 0))),
    Bug("gbias of the first image", "conv2d in groups", SUM, upstream_of(2, only(0, 0))),
    Bug("gbias a mean", "conv2d", FACTOR, scale(2, 1 / 40)),
    Bug("gbias negative", "conv2d", SIGN, scale(2, -1)),
    Bug("gbias missing", "conv2d", ZERO, zero(2)),
    Bug("gweight missing", "conv2d", ZERO, zero(1)),
    Bug("gx missing", "conv2d in groups", ZERO, zero(0)),
    Bug("gx of the first input seen", "conv2d", STALE, stale_gradient(1)),
    Bug("gweight not cleared", "conv2d", STALE, not_cleared(1)),
    Bug("input kept with the layer", "conv2d", STALE, from_shared_state, shared_state),
    Bug("first input kept", "conv2d", STALE, from_shared_state, first_input_kept),
    Bug("one weight's gradient 1 % off", "conv2d", {"one part"}, on(1, set_at((2, 1, 0, 1), lambda g: 1.01 * g))),
    Bug("one pixel's gradient 0.001 % off", "conv2d", {"one part"}, on(0, set_at((1, 2, 3, 0), lambda g: 1.00001 * g))),
    Bug("gx in float32", "conv2d", {"precision"}, on(0, lambda g: g.astype("float32").astype("float64"))),
    Bug("gweight returned as float32", "conv2d", {"gradient dtype", "backward raises"}, on(1, lambda g: g.astype("float32"))),
    Bug("gbias keeps the spatial axes", "conv2d", {"gradient shape", "backward raises"}, lambda ctx, gy: [
        *ctx.right(gy)[:2], gy.sum(0)]),
    # Max pooling
    Bug("every tie gets all", "max_pool2d", TIE, to_every_tie, inputs=ties((2, 3, 5, 6))),
    Bug("every tie gets all, after a ReLU", "max_pool2d", TIE, to_every_tie, inputs=with_zeros((2, 3, 5, 6))),
    Bug("overlaps overwritten", "max_pool2d", SUM, pool_overwrites),
    Bug("all of the window gets it", "max_pool2d", MASK, to_all_of_the_window),
    Bug("argmax one off", "max_pool2d", SHIFT | MASK, on(0, lambda g: np.roll(g.reshape(2, 3, -1), 1, -1).reshape(g.shape))),
    Bug("rows and columns swapped", "max_pool2d", AXES, on(0, lambda g: g.swapaxes(2, 3).reshape(g.shape))),
    Bug("gradient of the first channel for all", "max_pool2d", set(), on(0, lambda g: g[:, :1].repeat(3, 1))),
    Bug("an average's gradient", "max_pool2d", MASK, lambda ctx, gy: (
        kernels.pool2d.avg_backward(gy, ctx.op.window, *ctx.x[0].shape[2:]),)),
    Bug("argmax of the first call", "max_pool2d", STALE, from_shared_state, first_input_kept),
    # Average pooling
    Bug("sum's gradient", "avg_pool2d", FACTOR, scale(0, 6)),
    Bug("padding counted in backward alone", "avg_pool2d without padding", set(), lambda ctx, gy: (
        kernels.pool2d.avg_backward(gy, ctx.op.window, *ctx.x[0].shape[2:], True),)),
    Bug("first row lost", "avg_pool2d", PART, on(0, set_at((slice(None), slice(None), 0), 0))),
    Bug("one column off", "avg_pool2d", SHIFT, on(0, shift(1, 3))),
    Bug("last output column lost", "avg_pool2d", SUM, upstream(without(3, 4))),
    Bug("wrong divisor", "adaptive_avg_pool2d", FACTOR, scale(0, 1.5)),
    Bug("overlap counted once", "adaptive_avg_pool2d", {"constant factor"},
        on(0, lambda g: np.where(np.arange(5) == 2, 0.5, 1) * g)),
    Bug("mirrored cells", "adaptive_avg_pool2d", FLIP, on(0, lambda g: g[..., ::-1])),
    Bug("not divided", "global_avg_pool2d", FACTOR, scale(0, 20)),
    Bug("divided by one side", "global_avg_pool2d", FACTOR, scale(0, 4)),
    Bug("only the first pixel", "global_avg_pool2d", PART, on(0, lambda g: set_at((..., 0, 0), g[..., 0, 0])(0 * g))),
    Bug("channels reversed", "global_avg_pool2d", FLIP, upstream(lambda gy: gy[:, ::-1])),
    # Batch norm
    Bug("statistics as constants", "batch_norm", CROSS, bn(mean=False, var=False)),
    Bug("without the mean's term", "batch_norm", {"extra term", *CROSS}, bn(mean=False)),
    Bug("without the variance's term", "batch_norm", {"extra term", *CROSS}, bn(var=False)),
    Bug("unbiased variance", "batch_norm", CROSS, bn(unbiased=True)),
    Bug("without weight", "batch_norm", ELEMENT, bn(weighted=False)),
    Bug("eps of 1e-3 in xhat", "batch_norm", set(), bn(eps=1e-3)),
    Bug("gweight by x", "batch_norm", set(), bn(gweight=lambda ctx, xhat: ctx.x[0])),
    Bug("gweight without the division", "batch_norm", set(), bn(gweight=lambda ctx, xhat: xhat * np.sqrt(
        wide(ctx.op.var) + ctx.op.eps))),
    Bug("gweight and gbias swapped", "batch_norm", SWAP, swap(1, 2)),
    Bug("gbias a mean", "batch_norm", FACTOR, lambda ctx, gy: [*ctx.right(gy)[:2], gy.mean((0, 2, 3))]),
    Bug("gweight of the first image", "batch_norm", SUM, upstream_of(1, only(0, 0))),
    Bug("zero, which ones would not show", "batch_norm", ZERO, zero(0)),
    Bug("training's gradient in evaluation", "batch_norm in evaluation", set(), lambda ctx, gy: kernels.batch_norm.backward(
        gy, ctx.x[0], ctx.op.mean, ctx.op.var, ctx.x[1], ctx.op.eps, True)),
    Bug("gx divided twice", "batch_norm in evaluation", ELEMENT, on(0, lambda g: g / np.sqrt(wide(STATISTICS[1]) + 1e-5))),
    Bug("gbias missing", "batch_norm in evaluation", ZERO, zero(2)),
    Bug("x overwritten by xhat", "batch_norm", {"input mutated"}, None, writes_to_input(0, lambda x: x.__isub__(0.1))),
    # Fused with the ReLU behind them
    Bug("no mask", "conv2d and relu", set(), conv_backward),
    Bug("gbias without the mask", "conv2d and relu", set(), unmasked(2, conv_backward)),
    Bug("gx without the mask", "conv2d and relu", set(), unmasked(0, conv_backward)),
    Bug("mask of the upstream gradient", "conv2d and relu", set(), upstream(lambda gy: gy * (gy > 0))),
    Bug("gweight of the first image", "conv2d and relu", SUM, upstream_of(1, only(0, 0))),
    Bug("no mask", "batch_norm and relu", set(), norm_backward),
    Bug("mask behind the statistics", "batch_norm and relu", set(), mask_last),
    Bug("gweight without the mask", "batch_norm and relu", set(), unmasked(1, norm_backward)),
    Bug("gbias negative", "batch_norm and relu", SIGN, scale(2, -1)),
    Bug("shortcut's gradient missing", "batch_norm, sum and relu", ZERO, zero(3)),
    Bug("shortcut's gradient without the mask", "batch_norm, sum and relu", MASK | CROSS, lambda ctx, gy: [
        *ctx.right(gy)[:3], gy.copy()]),
    Bug("shortcut's gradient is gx", "batch_norm, sum and relu", set(), swap(0, 3)),
    Bug("shortcut's gradient doubled", "batch_norm, sum and relu", FACTOR, scale(3, 2)),
    Bug("mask without the shortcut", "batch_norm, sum and relu", set(), mask_without_the_sum),
    # Local response normalisation
    Bug("normaliser as a constant", "lrn", CROSS, lrn(cross=False)),
    Bug("own channel alone", "lrn", CROSS, lrn_own_channel),
    Bug("window mirrored", "lrn", set(), lrn(before=1, after=2)),
    Bug("window lacks a channel", "lrn", CROSS, lrn(before=1)),
    Bug("factor 2 missing", "lrn", FACTOR, lrn(two=1)),
    Bug("alpha not divided by size", "lrn", FACTOR, lrn(divided=False)),
    Bug("beta for beta + 1", "lrn", set(), lrn(exponent=0)),
    Bug("x missing in the cross term", "lrn", set(), lrn(times_x=False)),
    Bug("x of the first call", "lrn", STALE, from_shared_state, first_input_kept),
    # Linear
    Bug("gweight transposed", "square linear", AXES, on(1, lambda g: g.T)),
    Bug("gweight in the memory order of (C, K)", "linear", AXES, on(1, lambda g: g.T.reshape(g.shape))),
    Bug("weight for its transpose", "square linear", AXES, lambda ctx, gy: [gy @ ctx.x[1].T, *ctx.right(gy)[1:]]),
    Bug("gbias of the first row", "linear", SUM, lambda ctx, gy: [*ctx.right(gy)[:2], gy[0]]),
    Bug("gbias of the last row", "linear", SUM, lambda ctx, gy: [*ctx.right(gy)[:2], gy[-1]]),
    Bug("gweight a mean", "linear", FACTOR, scale(1, 1 / 3)),
    Bug("gx negative", "linear", SIGN, scale(0, -1)),
    Bug("gbias missing", "linear", ZERO, zero(2)),
    Bug("gx lacks the last output", "linear", SUM, upstream_of(0, without(1, 3))),
    Bug("ones for the upstream gradient", "linear", GY, upstream(np.ones_like)),
    Bug("gweight not cleared", "linear", STALE, not_cleared(1)),
    Bug("gweight depends on the call", "linear", {"non-deterministic", "stale buffer"}, noisy(1)),
    Bug("upstream gradient clipped at 10", "linear", {"not linear"}, upstream(lambda gy: np.clip(gy, -10, 10))),
    Bug("upstream gradient written to", "linear", {"upstream mutated"}, writes_to_gy),
    Bug("output in one buffer", "linear", {"output overwritten"}, None, one_buffer),
    Bug("weight normalised in place", "linear", {"input mutated"}, None, writes_to_input(1, lambda w: w.__imul__(1.5))),
    Bug("NaN in one place", "linear", {"not finite"}, on(1, set_at((1, 2), np.nan))),
    Bug("forward forgets the bias, backward too", "linear", FORWARD, zero(2), lambda ctx, x, w, b: x @ w.T,
        reference=lambda x, w, b: x @ w.T + b),
    # Concatenation
    Bug("pieces swapped", "concat", SWAP, swap(0, 1)),
    Bug("cut one off", "concat", SHIFT, on(0, lambda g: np.roll(g, 1, 1))),
    Bug("last piece missing", "concat", ZERO, zero(2)),
    Bug("first piece doubled", "concat", FACTOR, scale(0, 2)),
    Bug("pieces reversed", "concat", FLIP, on(1, lambda g: g[:, ::-1])),
    Bug("new channels one off", "append", SHIFT, on(1, shift(1, 1))),
    Bug("x gets the last channels", "append", set(), lambda ctx, gy: [gy[:, 2:].copy(), gy[:, 3:].copy()]),
    Bug("new channels missing", "append", ZERO, zero(1)),
    # Computed again in the backward pass
    Bug("ones for the upstream gradient", "recompute", GY, upstream(np.ones_like)),
    Bug("inputs of the first call", "recompute", STALE, from_shared_state, first_input_kept),
    Bug("added up twice", "recompute", FACTOR, scale(1, 2)),
    # ReLU
    Bug("no mask", "relu", CROSS | MASK, relu_where(lambda x, gy: 1.0)),
    Bug("mask of the upstream gradient", "relu", MASK | PART, relu_where(lambda x, gy: gy > 0)),
    Bug("mask turned round", "relu", MASK | PART, relu_where(lambda x, gy: x < 0)),
    Bug("leaky in backward alone", "relu", MASK | {"one part"}, relu_where(lambda x, gy: np.where(x > 0, 1, 0.01))),
    Bug("2 at zero", "relu", TIE, relu_where(lambda x, gy: np.where(x == 0, 2.0, x > 0)), inputs=with_zeros((3, 4, 5))),
    Bug("-1 at zero", "relu", TIE, relu_where(lambda x, gy: np.where(x == 0, -1.0, x > 0)), inputs=with_zeros((3, 4, 5))),
    Bug("x for the mask", "relu", ELEMENT, relu_where(lambda x, gy: np.maximum(x, 0))),
    Bug("mask of the first call", "relu", STALE, from_shared_state, first_input_kept),
    Bug("in place", "relu", {"input mutated"}, None, lambda ctx, x: np.maximum(x, 0, out=x)),
    Bug("one value in a million off", "relu", {"not linear"}, on(0, set_at((2, 3, 4), lambda g: g + 1e-6))),
    # Dropout
    Bug("not scaled in backward", "dropout", FACTOR, scale(0, 0.6)),
    Bug("scaled twice", "dropout", FACTOR, scale(0, 1 / 0.6)),
    Bug("no mask in backward", "dropout", MASK, lambda ctx, gy: (gy / 0.6,)),
    Bug("another mask in backward", "dropout", MASK | PART, lambda ctx, gy: (kernels.dropout.forward(gy, 0.4, 777),)),
    Bug("mask by element", "drop_path", MASK | PART, lambda ctx, gy: (kernels.dropout.forward(gy, 0.4, 12345),)),
    Bug("not scaled", "drop_path", FACTOR, scale(0, 0.6)),
    Bug("images one off", "drop_path", SHIFT | MASK | PART, upstream(lambda gy: np.roll(gy, 1, 0))),
    # Losses
    Bug("sum's term missing", "log_softmax", CROSS, lambda ctx, gy: (gy,)),
    Bug("sum over the wrong axis", "log_softmax", set(), lambda ctx, gy: (gy - softmax_of(ctx) * gy.sum(0),)),
    Bug("1/K for the softmax", "log_softmax", set(), lambda ctx, gy: (gy - gy.mean(1, keepdims=True),)),
    Bug("sign of the softmax", "log_softmax", SIGN, lambda ctx, gy: (gy + softmax_of(ctx) * gy.sum(1, keepdims=True),)),
    Bug("not divided by the batch", "cross_entropy", FACTOR, scale(0, 4)),
    Bug("sign", "cross_entropy", SIGN, scale(0, -1)),
    Bug("no target", "cross_entropy", set(), cross_entropy(lambda p, gy: gy * p / 4)),
    Bug("no smoothing in backward", "cross_entropy", set(), cross_entropy(lambda p, gy: gy * (p - target(0)) / 4)),
    Bug("labels one off", "cross_entropy", set(), cross_entropy(lambda p, gy: gy * (p - target(labels=(LABELS + 1) % 6))
                                                                       / 4)),
    Bug("upstream gradient ignored", "cross_entropy", {"constant factor", *GY}, upstream(np.ones_like)),
    # Arithmetic and shapes
    Bug("broadcast axis averaged", "add", FACTOR, scale(1, 1 / 8)),
    Bug("broadcast axis not summed", "add", {"backward raises", "gradient shape"}, lambda ctx, gy: (gy, gy)),
    Bug("broadcast axis: first only", "add", SUM, upstream_of(1, only(2, 0))),
    Bug("broadcast batch: last only", "add", SUM, upstream_of(1, only(0, 1))),
    Bug("sign of b", "subtract", SIGN, scale(1, -1)),
    Bug("a and b swapped", "multiply", SWAP, swap(0, 1)),
    Bug("factor missing", "multiply", ELEMENT, lambda ctx, gy: (gy, gy * ctx.x[0])),
    Bug("square of b missing", "divide", ELEMENT, lambda ctx, gy: (gy / ctx.x[1], -gy * ctx.x[0] / ctx.x[1])),
    Bug("sign of b", "divide", SIGN, scale(1, -1)),
    Bug("a for b", "divide", ELEMENT, lambda ctx, gy: (gy / ctx.x[0], ctx.right(gy)[1])),
    Bug("exponent not lowered", "power", ELEMENT, lambda ctx, gy: (gy * ctx.x[1] * ctx.y, ctx.right(gy)[1])),
    Bug("logarithm missing", "power", ELEMENT, lambda ctx, gy: (ctx.right(gy)[0], gy * ctx.y)),
    Bug("sign", "negate", SIGN, scale(0, -1)),
    Bug("x for y", "exp", ELEMENT, lambda ctx, gy: (gy * ctx.x[0],)),
    Bug("y missing", "exp", CROSS | ELEMENT, lambda ctx, gy: (gy,)),
    Bug("decimal logarithm", "log", FACTOR, scale(0, 1 / np.log(10))),
    Bug("1/x twice", "log", ELEMENT, lambda ctx, gy: (gy / ctx.x[0] ** 2,)),
    Bug("first of the stack", "matmul", SUM | PART, upstream_of(1, only(0, 0))),
    Bug("ga in the order of its transpose", "matmul", AXES, on(0, lambda g: g.swapaxes(1, 2).reshape(g.shape))),
    Bug("stack reversed", "matmul", FLIP, on(0, lambda g: g[::-1])),
    Bug("column-major", "reshape", AXES, lambda ctx, gy: (gy.reshape(2, 3, 4, order="F"),)),
    Bug("not turned back", "transpose", AXES, lambda ctx, gy: (gy.reshape(2, 3, 4),)),
    Bug("one column off", "pad", SHIFT, lambda ctx, gy: (gy[1:, 1:5].copy(),)),
    Bug("other side's padding", "pad", SHIFT, lambda ctx, gy: (gy[1:, 3:7].copy(),)),
    Bug("taken twice, added once", "index", SUM,
        lambda ctx, gy: (np.stack([gy[2], 0 * gy[0], gy[1]]),)),
    Bug("added, not placed", "index", {"shifted window", "permuted", "one part"}, on(0, lambda g: np.roll(g, 1, 0))),
    Bug("divided", "sum", FACTOR, scale(0, 1 / 8)),
    Bug("spread over one side", "sum", PART, on(0, set_at((slice(None), slice(None), slice(1, None)), 0))),
    Bug("not divided", "mean", FACTOR, scale(0, 3)),
    Bug("forward off by a constant factor, backward too", "exp", FORWARD, scale(0, 2), lambda ctx, x: 2 * np.exp(x),
        reference=np.exp),
]
