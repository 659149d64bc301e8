"""How a bug is planted: a right op with one mistake in its backward or forward. The bugs are in gradcheck_corpus.py.

A bug has the op that it is planted in, the kinds of diagnosis that name it (none where it is only found), and
backward(ctx, gy) -> gradients or forward(ctx, *arrays) -> y. ctx.right(gy) gives the right gradients, ctx.x the inputs,
ctx.y the output, ctx.op the op after its forward pass, and ctx.memory a dict that lives as long as the layer, for what is
wrongly kept between calls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from kernels.geometry import Window2d
from minicnn.autograd import Op, apply
from minicnn.ops.activation import ReLU
from minicnn.ops.arithmetic import Add, Divide, Exp, Log, MatMul, Multiply, Negate, Power, Subtract, exp
from minicnn.ops.batch_norm import BatchNorm, BatchNormReLU
from minicnn.ops.concat import Append, ChannelBuffer, Concat
from minicnn.ops.conv import Conv2d, Conv2dReLU, ExpandReLU
from minicnn.ops.dropout import Dropout, DropPath
from minicnn.ops.linear import Linear
from minicnn.ops.loss import CrossEntropy, LogSoftmax
from minicnn.ops.lrn import LocalResponseNorm
from minicnn.ops.pool import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, MaxPool2d
from minicnn.ops.recompute import Recompute
from minicnn.ops.shape import Index, Mean, Pad, Reshape, Sum, Transpose

LABELS = np.array([3, 0, 5, 1])
STATISTICS = np.array([0.3, -0.2, 0.1]), np.array([0.7, 1.6, 2.3])

# name: (makes the op, the shapes of its inputs)
OPS = {
    "conv2d": (lambda: Conv2d(Window2d.of((3, 2), 1, ((1, 1), (1, 0))), 1), ((2, 3, 5, 4), (4, 3, 3, 2), (4,))),
    "conv2d in groups": (lambda: Conv2d(Window2d.of((3, 2), (2, 1), ((1, 0), (2, 1)), (1, 2)), 2),
                         ((2, 4, 6, 5), (6, 2, 3, 2), (6,))),
    "conv2d 3x3": (lambda: Conv2d(Window2d.of(3, 1, 1), 1), ((2, 3, 5, 4), (3, 3, 3, 3), (3,))),
    "max_pool2d": (lambda: MaxPool2d(Window2d.of((3, 2), (2, 1), (1, 0))), ((2, 3, 5, 6),)),
    "avg_pool2d": (lambda: AvgPool2d(Window2d.of((3, 2), (2, 1), (1, 0)), True), ((2, 3, 5, 6),)),
    "avg_pool2d without padding": (lambda: AvgPool2d(Window2d.of(3, 2, 1), False), ((2, 3, 5, 6),)),
    "adaptive_avg_pool2d": (lambda: AdaptiveAvgPool2d((3, 2)), ((2, 3, 7, 5),)),
    "global_avg_pool2d": (GlobalAvgPool2d, ((2, 3, 5, 4),)),
    "batch_norm": (BatchNorm, ((4, 3, 2, 5), (3,), (3,))),
    "batch_norm in evaluation": (lambda: BatchNorm(*STATISTICS), ((4, 3, 2, 5), (3,), (3,))),
    "conv2d and relu": (lambda: Conv2dReLU(Window2d.of((3, 2), 1, ((1, 1), (1, 0))), 1), ((2, 3, 5, 4), (4, 3, 3, 2), (4,))),
    "expand and relu": (lambda: ExpandReLU([Window2d.of(1), Window2d.of(3, 1, 1)], [1, 1]),
                        ((2, 3, 5, 4), (4, 3, 1, 1), (4,), (2, 3, 3, 3), (2,))),
    "batch_norm and relu": (BatchNormReLU, ((4, 3, 2, 5), (3,), (3,))),
    "batch_norm, sum and relu": (BatchNormReLU, ((4, 3, 2, 5), (3,), (3,), (4, 3, 2, 5))),
    "lrn": (lambda: LocalResponseNorm(4, 1.0, 0.6, 1.0), ((2, 6, 3, 4),)),
    "linear": (Linear, ((3, 5), (4, 5), (4,))),
    "square linear": (Linear, ((4, 5), (5, 5), (5,))),
    "concat": (lambda: Concat(1), ((2, 3, 4), (2, 3, 4), (2, 2, 4))),
    "append": (lambda: Append(ChannelBuffer(8)), ((2, 3, 4, 5), (2, 2, 4, 5))),
    "recompute": (lambda: Recompute(lambda a, b, again: exp(a) * b), ((2, 3), (2, 3))),
    "relu": (ReLU, ((3, 4, 5),)),
    "dropout": (lambda: Dropout(0.4, 12345), ((3, 4, 5),)),
    "drop_path": (lambda: DropPath(0.4, 12345), ((6, 2, 3),)),
    "log_softmax": (lambda: LogSoftmax(1), ((4, 5),)),
    "cross_entropy": (lambda: CrossEntropy(LABELS, 0.1), ((4, 6),)),
    "add": (Add, ((2, 3, 4), (3, 1))),
    "subtract": (Subtract, ((2, 3, 4), (2, 3, 4))),
    "multiply": (Multiply, ((2, 3, 4), (2, 3, 4))),
    "divide": (Divide, ((2, 3, 4), (2, 3, 4))),
    "power": (Power, ((2, 3), (2, 3))),
    "negate": (Negate, ((2, 3),)),
    "exp": (Exp, ((3, 4),)),
    "log": (Log, ((3, 4),)),
    "matmul": (MatMul, ((2, 3, 4), (2, 4, 5))),
    "reshape": (lambda: Reshape((6, 4)), ((2, 3, 4),)),
    "transpose": (lambda: Transpose((2, 0, 1)), ((2, 3, 4),)),
    "pad": (lambda: Pad(((1, 0), (2, 3))), ((3, 4),)),
    "index": (lambda: Index(([0, 2, 0],)), ((3, 4),)),
    "sum": (lambda: Sum((0, 2), False), ((2, 3, 4),)),
    "mean": (lambda: Mean((1,), False), ((2, 3, 4),)),
}
POSITIVE = {"log", "power", "divide"}


@dataclass
class Bug:
    name: str
    op: str
    kinds: set
    backward: Callable | None = None
    forward: Callable | None = None
    inputs: Callable | None = None      # rng -> arrays, where random ones would not show it
    reference: Callable | None = None   # the expected output, where no rung has it

    def arrays(self, rng):
        if self.inputs is not None:
            return self.inputs(rng)
        draw = (lambda shape: rng.uniform(0.5, 2, shape)) if self.op in POSITIVE else rng.standard_normal
        return [np.asarray(draw(shape)) for shape in OPS[self.op][1]]

    def function(self):
        """The layer with the bug, as a function of tensors."""
        memory = {}
        return lambda *tensors: apply(Planted(self, memory), *tensors)


class Planted(Op):
    """The right op, but for the bug."""

    def __init__(self, bug, memory):
        self.bug, self.memory = bug, memory

    def forward(self, *x):
        self.op = OPS[self.bug.op][0]()
        self.op.needs = (True,) * len(x)
        ctx = SimpleNamespace(x=x, op=self.op, memory=self.memory, right_forward=self.op.forward)
        self.y = ctx.right_forward(*[a.copy() for a in x])
        if self.bug.forward is not None:
            self.y = self.bug.forward(ctx, *x)
        self.x = x
        return self.y

    def right(self, gy):
        gradients = self.op.backward(np.array(gy))
        return list(gradients) if isinstance(gradients, tuple | list) else [gradients]

    def backward(self, gy):
        if self.bug.backward is None:
            return tuple(self.right(gy))
        return tuple(self.bug.backward(self, gy))


# What can be done to one of the gradients, or to the upstream gradient.

def on(i, change):
    """Change gradient i; change(g) or change(g, ctx, gy)."""
    def backward(ctx, gy):
        gradients = ctx.right(gy)
        gradients[i] = change(gradients[i])
        return gradients
    return backward


def upstream(change):
    """The right backward of a changed upstream gradient, for all inputs."""
    return lambda ctx, gy: ctx.right(change(gy))


def upstream_of(i, change):
    """The right backward of a changed upstream gradient, for input i alone."""
    def backward(ctx, gy):
        gradients = ctx.right(gy)
        gradients[i] = ctx.right(change(gy))[i]
        return gradients
    return backward


def scale(i, c):
    return on(i, lambda g: c * g)


def zero(i):
    return on(i, np.zeros_like)


def swap(i, j):
    def backward(ctx, gy):
        gradients = ctx.right(gy)
        gradients[i], gradients[j] = gradients[j], gradients[i]
        return gradients
    return backward


def only(axis, k):
    """Only index k of an axis of the output."""
    def change(gy):
        one = np.zeros_like(gy)
        at = (slice(None),) * axis + (k,)
        one[at] = gy[at]
        return one
    return change


def without(axis, k):
    return lambda gy: gy - only(axis, k)(gy)


def set_at(at, value):
    def change(g):
        g = g.copy()
        g[at] = value(g[at]) if callable(value) else value
        return g
    return change


def shift(by, axis):
    """Moved, with zeros coming in."""
    def change(g):
        moved = np.roll(g, by, axis)
        at = (slice(None),) * axis + (slice(0, by) if by > 0 else slice(by, None),)
        moved[at] = 0
        return moved
    return change


def stale_gradient(i):
    def backward(ctx, gy):
        gradients = ctx.right(gy)
        gradients[i] = ctx.memory.setdefault("first", gradients[i])
        return gradients
    return backward


def not_cleared(i):
    """The buffer of gradient i is added to and never cleared."""
    def backward(ctx, gy):
        gradients = ctx.right(gy)
        ctx.memory["sum"] = gradients[i] = ctx.memory.get("sum", 0) + gradients[i]
        return gradients
    return backward


def shared_state(ctx, *x):
    """Forward keeps its inputs with the layer, not with the call."""
    ctx.memory["op"] = ctx.op
    return ctx.right_forward(*x)


def from_shared_state(ctx, gy):
    gradients = ctx.memory["op"].backward(gy)
    return gradients if isinstance(gradients, tuple | list) else [gradients]


def first_input_kept(ctx, *x):
    ctx.memory.setdefault("op", ctx.op)
    return ctx.right_forward(*x)


def noisy(i):
    def backward(ctx, gy):
        gradients = ctx.right(gy)
        ctx.memory["runs"] = ctx.memory.get("runs", 0) + 1
        gradients[i] = gradients[i] * (1 + 1e-6 * ctx.memory["runs"] ** 2 % 7)
        return gradients
    return backward


def writes_to_input(k, change):
    def forward(ctx, *x):
        y = ctx.right_forward(*[a.copy() for a in x])
        change(x[k])
        return y
    return forward


def one_buffer(ctx, *x):
    """Every call returns the same array."""
    y = ctx.right_forward(*x)
    kept = ctx.memory.setdefault("y", np.empty_like(y))
    kept[...] = y
    return kept


def writes_to_gy(ctx, gy):
    gradients = [g.copy() for g in ctx.right(gy)]
    gy *= 0.5
    return gradients


def wide(c):
    return c[:, None, None]
