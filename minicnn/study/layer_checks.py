"""The gradients of a network, layer by layer, at the shapes the network gives them.

Every distinct operation of one training pass (its kind, its arguments, its input shapes) is run again by itself in
float64 on random inputs, and its gradients are checked by minicnn.gradcheck. Maps are cut to a few windows and very
long vectors to a part, so that one check takes a second at most.
"""

import copy
import math
from dataclasses import asdict, dataclass

import numpy as np

import kernels
from minicnn import gradcheck, ops
from minicnn.autograd import Tensor, apply, observing
from minicnn.study import figures
from minicnn.study.trace import Tracer, dtype_of, preserved
from minicnn.training.evaluate import first_output

SECONDS = 0.3           # of search in each check
SIDE, SHORT_SIDE = 20, 8    # pixels that a map is cut to, if the window allows; the second for weights of many values
MANY = 100_000          # values of a weight
FEATURES = 512          # of fully connected layers
POSITIVE = ("Log", "Power", "Divide")


@dataclass(frozen=True)
class LayerCheck:
    """One distinct operation: where it runs first, how many of the network's are like it, and the worst element found.

    error: the largest |backward - differences| of the worst elements, relative to the larger of the two (not below 1e-3);
    message: the report of a wrong gradient, "" for a right one; maps: (input, error of each element over the largest
    gradient, NaN where it was not tested) of the wrong ones; places: the paths of all that are like it.
    """

    path: str
    operation: str
    detail: str
    alike: int
    passed: bool
    error: float
    message: str
    maps: tuple = ()
    places: tuple = ()

    def as_dict(self):
        """For JSON: all but the maps."""
        return {name: value for name, value in asdict(self).items() if name != "maps"}


class _Collector(Tracer):
    """The distinct ops of a pass: {signature: [op, input shapes, output shape, paths]}."""

    def __init__(self, model):
        super().__init__(model)
        self.found = {}

    def forward(self, op, inputs, output, seconds):
        shapes = tuple(x.shape for x in inputs)
        entry = self.found.setdefault(_signature(op, shapes), (op, shapes, output.shape, []))
        entry[3].append("loss" if self.path is None else self.path)


def _signature(op, shapes):
    """What makes two ops the same computation: kind, plain arguments, shapes; not the key of a random mask."""
    plain = [(name, repr(value)) for name, value in sorted(vars(op).items())
             if name not in ("key", "needs") and isinstance(value, int | float | str | tuple | slice)]
    return type(op).__name__, tuple(plain), shapes


def check_layers(model, input_shape, seconds=SECONDS, progress=None):
    """Check each distinct operation of a training pass of two images, a classifier's loss too -> list of LayerCheck.

    The model stays as it was. progress(done, of, check) is called after each.
    """
    rng = np.random.default_rng(0)
    collector = _Collector(model)
    image = Tensor(rng.standard_normal((2, *input_shape)).astype(dtype_of(model)))
    with preserved(model), observing(collector):
        model.train()
        logits = first_output(model(image))
        if logits.ndim == 2:
            ops.cross_entropy(logits, np.arange(2) % logits.shape[1])
    checks = []
    with kernels.threads.num_threads(1):        # the pieces are too small to share out
        for op, shapes, output_shape, places in collector.found.values():
            checks.append(_check(op, shapes, output_shape, tuple(places), seconds, rng))
            if progress:
                progress(len(checks), len(collector.found), checks[-1])
    return checks


def _check(op, shapes, output_shape, places, seconds, rng):
    arrays = [_draw(op, shape, rng) for shape in _cut(op, shapes, output_shape)]
    report = gradcheck.check(lambda *values: apply(_fresh(op), *values), arrays, seconds=seconds)
    detail = ", ".join(figures.shape(a.shape) for a in arrays)
    if hasattr(op, "window"):
        detail += f", stride {op.window.stride_h}"
    return LayerCheck(places[0], type(op).__name__, detail, len(places), bool(report),
                      max((_relative(result) for result in report.results), default=0.0), "" if report else str(report),
                      tuple((result.name, result.error_map) for result in report.failures if result.error_map is not None),
                      places)


def _relative(result):
    if result.analytic is None or result.numeric is None:
        return 0.0
    return abs(result.analytic - result.numeric) / max(abs(result.analytic), abs(result.numeric), 1e-3)


def _fresh(op):
    """The same op, not yet applied: forward makes what it kept anew."""
    twin = copy.copy(op)
    twin.needs = ()
    return twin


def _cut(op, shapes, output_shape):
    """The shapes with maps cut to what shows the layer's pattern; as they are where the sides depend on each other."""
    if type(op).__name__ == "Linear":
        return [tuple(min(side, FEATURES) for side in shape) for shape in shapes]
    if hasattr(op, "window"):
        most = SHORT_SIDE if any(math.prod(shape) > MANY for shape in shapes[1:]) else SIDE
        first = [*shapes[0][:2], *[min(side, max(most, extent + 2 * stride)) for side, extent, stride in
                                   zip(shapes[0][2:], op.window.extent, (op.window.stride_h, op.window.stride_w))]]
        return [tuple(first), *shapes[1:]]
    if len(output_shape) == 4 and all(len(shape) < 4 or shape == output_shape for shape in shapes):
        return [(*shape[:2], *[min(side, SIDE) for side in shape[2:]]) if len(shape) == 4 else shape for shape in shapes]
    return shapes


def _draw(op, shape, rng):
    if type(op).__name__ in POSITIVE:
        return rng.uniform(0.5, 2, shape)
    return rng.standard_normal(shape)
