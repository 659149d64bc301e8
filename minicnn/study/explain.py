"""The numbers behind single values: for each operation those that a reader needs to work an output out by hand.

Of a small network everything is kept; of a large one a grid of positions and some of the channels, so that all together
stay within a number of bytes. What is kept are the network's own numbers, bit for bit.
"""

from dataclasses import dataclass, field

import numpy as np

BUDGET = 5 << 20        # bytes of all numbers of a page
KINDS = {"Conv2d": "conv", "Conv2dReLU": "conv", "BatchNorm": "batch_norm", "BatchNormReLU": "batch_norm",
         "LocalResponseNorm": "lrn", "Linear": "linear", "MaxPool2d": "max", "AvgPool2d": "average",
         "AdaptiveAvgPool2d": "cells", "GlobalAvgPool2d": "plane", "ReLU": "pointwise", "Add": "pointwise",
         "Subtract": "pointwise", "Multiply": "pointwise", "Divide": "pointwise", "Negate": "pointwise", "Concat": "concat",
         "Append": "concat"}
SUMMED, SUMS = ("conv", "linear", "batch_norm", "max", "lrn", "average"), 4       # kinds that get more of the budget
ALL_CHANNELS = ("conv", "lrn", "linear")        # kinds whose values are made of several channels


@dataclass
class Block:
    """The numbers of one operation.

    kind: how a value is made ("other": not explained); rows, columns, channels: of the outputs whose numbers are here;
    x_rows, x_columns, x_channels: of the inputs; arrays: {name: array}: y, gy and add (a shortcut) of (channels, rows,
    columns), x (or x0, x1, … where there are several inputs) and gx likewise of the inputs, weight, bias, mean, var; facts:
    plain numbers of the formula.
    """

    kind: str
    rows: list
    columns: list
    channels: list
    x_rows: list
    x_columns: list
    x_channels: list
    arrays: dict
    facts: dict = field(default_factory=dict)


def blocks(nodes, budget=BUDGET):
    """{number of the node: Block} of every node that has an output of one image, within `budget` bytes together."""
    plans = {i: plan for i, node in enumerate(nodes) if (plan := _Plan.of(node))}
    shares = share_out({i: (plan.bytes(), SUMS if plan.kind in SUMMED else 1) for i, plan in plans.items()}, budget)
    for i, plan in plans.items():
        plan.shrink(shares[i])
    return {i: plan.block() for i, plan in plans.items()}


def share_out(needs, budget):
    """What each may take of a budget: all it needs where that is little; the others parts by weight of what is left.

    needs: {key: (bytes, weight)}.
    """
    shares, left = {}, budget
    weights = sum(weight for _, weight in needs.values())
    for key, (need, weight) in sorted(needs.items(), key=lambda item: item[1][0] / item[1][1]):
        shares[key] = min(need, left * weight // weights)
        left, weights = left - shares[key], weights - weight
    return shares


class _Plan:
    """Which outputs of a node are kept: as many rows, columns and channels as fit."""

    def __init__(self, node, kind):
        self.node, self.kind = node, kind
        sides = node.y.shape[1:] if node.is_map else (node.y.shape[1], 1, 1)
        self.full = sides
        self.counts, self.with_gx = list(sides), True

    @classmethod
    def of(cls, node):
        """The plan of a node; None where its output is neither maps nor a vector, or nothing was kept to look at."""
        if node.y.ndim not in (2, 4) or len(node.y) != 1 or not node.y.size:
            return None
        kind = KINDS.get(node.kind, "other")
        fits = node.arrays and node.arrays[0].ndim == (2 if kind == "linear" else 4)
        if kind == "pointwise":
            fits = all(a.ndim < 2 or a.shape == node.y.shape for a in node.arrays)
        if kind == "concat":
            fits = getattr(node.op, "axis", 1) == 1         # Append has none: it is over channels
        return cls(node, kind if fits else "other")

    def lists(self):
        """(channels, rows, columns) kept: evenly spread, the ends among them; channels by their largest values first."""
        rows, columns = (spread(count, side) for count, side in zip(self.counts[1:], self.full[1:]))
        return self._channels(), rows, columns

    def _channels(self):
        count, y = self.counts[0], self.node.y[0]
        if count == len(y):
            return list(range(count))
        strongest = np.argsort(-np.abs(y.reshape(len(y), -1)).max(axis=1), kind="stable")[:count]
        return sorted(int(c) for c in strongest)

    def x_lists(self, channels, rows, columns):
        """The channels, rows and columns of the first input that the kept outputs are made of."""
        node = self.node
        if self.kind == "linear":
            return list(range(node.arrays[0].shape[1])), [0], [0]
        channels_in = list(range(node.arrays[0].shape[1])) if self.kind in ALL_CHANNELS else channels
        if self.kind in ("plane", "cells"):
            return channels_in, list(range(node.arrays[0].shape[2])), list(range(node.arrays[0].shape[3]))
        if hasattr(node.op, "window"):
            w, (height, width) = node.op.window, node.arrays[0].shape[2:]
            return (channels_in, _seen(rows, w.kernel_h, w.stride_h, w.top, w.dilation_h, height),
                    _seen(columns, w.kernel_w, w.stride_w, w.left, w.dilation_w, width))
        return channels_in, rows, columns

    def bytes(self):
        """What the block takes."""
        node, item = self.node, self.node.y.itemsize
        kept = self.lists()
        outputs = int(np.prod([len(part) for part in kept])) * 2
        if self.kind in ("other", "concat"):
            return outputs * item
        x = int(np.prod([len(part) for part in self.x_lists(*kept)]))
        inputs = (len(node.arrays) if self.kind == "pointwise" else 1 + self.with_gx + (len(node.arrays) > 3)) * x
        weights = int(np.prod(node.arrays[1].shape[1:])) * len(kept[0]) if self.kind in ("conv", "linear") else 0
        return (outputs + inputs + weights) * item

    def shrink(self, share):
        """Give up gx, then positions or channels, whichever are more, until the block fits or one of each is left."""
        self.with_gx = self.bytes() <= share
        while self.bytes() > share and max(self.counts) > 1:
            if self.counts[0] > self.counts[1] * self.counts[2]:
                self.counts[0] = int(self.counts[0] * 0.9)
            else:
                self.counts[1:] = [max(1, int(count * 0.95)) for count in self.counts[1:]]

    def block(self):
        """The Block of what is left."""
        node, kept = self.node, self.lists()
        channels, rows, columns = kept
        arrays = {"y": _take(node.y, *kept), "gy": None if node.gy is None else _take(node.gy, *kept)}
        x_lists = ([], [], []) if self.kind in ("other", "concat") else self.x_lists(*kept)
        facts = {}
        if self.kind not in ("other", "concat"):
            arrays.update(_inputs(self.kind, node, x_lists, self.with_gx))
            facts = _facts(self.kind, node, channels, (rows, columns), arrays)
        elif self.kind == "concat":
            facts = {"sizes": [a.shape[1] for a in node.arrays]}
        return Block(self.kind, rows, columns, channels, x_lists[1], x_lists[2], x_lists[0],
                     {name: a for name, a in arrays.items() if a is not None}, facts)


def spread(count, side):
    """`count` of the numbers 0 … side - 1, evenly spread with the first and the last among them."""
    if count >= side:
        return list(range(side))
    return sorted({int(i) for i in np.rint(np.linspace(0, side - 1, count))}) if count > 1 else [side // 2]


def _seen(places, kernel, stride, before, dilation, side):
    """The rows (or columns) of the input under the windows at `places`."""
    under = {place * stride - before + tap * dilation for place in places for tap in range(kernel)}
    return sorted(i for i in under if 0 <= i < side)


def _take(array, channels, rows, columns):
    """The kept part (channels, rows, columns) of an array (1, C, H, W) or (1, C)."""
    if array.ndim == 2:
        return array[0][channels][:, None, None]
    return array[0][np.ix_(channels, rows, columns)]


def _inputs(kind, node, x_lists, with_gx):
    if kind != "pointwise":
        gx = node.gradients[0] if node.gradients and with_gx else None
        return {"x": _take(node.arrays[0], *x_lists), "gx": None if gx is None else _take(gx, *x_lists)}
    return {f"x{i}": _take(np.broadcast_to(a, node.y.shape), *x_lists) for i, a in enumerate(node.arrays)}


def _facts(kind, node, channels, places, arrays):
    """Plain numbers of the formula; per-channel numbers go to `arrays`."""
    op, facts = node.op, {"relu": node.kind in ("Conv2dReLU", "BatchNormReLU")}
    if hasattr(op, "window"):
        facts["window"] = [int(value) for value in op.window]
    if kind in ("conv", "linear"):
        arrays["weight"] = node.arrays[1][channels]
        arrays["bias"] = node.arrays[2][channels] if len(node.arrays) > 2 else None
        facts["groups"] = getattr(op, "groups", 1)
    if kind == "conv":
        facts["outputs"] = node.y.shape[1]
    if kind in ("average", "max", "cells", "conv"):
        facts["input"] = list(node.arrays[0].shape[1:])
        facts["count_include_pad"] = bool(getattr(op, "count_include_pad", True))
    if kind == "cells":
        facts["output"] = list(node.y.shape[2:])
    if kind == "batch_norm":
        arrays.update(mean=op.mean[channels], var=op.var[channels])
        arrays["weight"] = node.arrays[1][channels] if len(node.arrays) > 1 else None
        arrays["bias"] = node.arrays[2][channels] if len(node.arrays) > 2 else None
        facts["eps"] = op.eps
        arrays["add"] = _take(node.arrays[3], channels, *places) if len(node.arrays) > 3 else None
    if kind == "lrn":
        facts.update(size=op.size, alpha=op.alpha, beta=op.beta, k=op.k, inputs=node.arrays[0].shape[1])
    return facts
