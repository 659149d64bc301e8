"""Whole models: every op at the input that it meets in the model, then the chain of all of them along one direction."""

import time

import numpy as np

from minicnn import autograd, random
from minicnn.autograd import observing
from minicnn.errors import ArgumentError
from minicnn.gradcheck.audit import PROJECTIONS, judge_line
from minicnn.gradcheck.check import check_subject
from minicnn.gradcheck.point import Point, direction, generator, upstream
from minicnn.gradcheck.report import Report, Result
from minicnn.gradcheck.subject import BackwardError, FunctionSubject, OpSubject
from minicnn.gradcheck.verdict import ATOL, PASSED, SAFETY, Verdict

SECONDS = 10.0
CHAIN = 0.05        # where the chain crosses kinks at any step: a cut or doubled path still shows at this precision


def check_model(model, x, loss=None, seconds=SECONDS, seed=0, progress=None):
    """Check every layer of a model on its own, at its place, and then the model as a whole -> Report.

    x (N, ...): the model's input, floating, converted to float64. loss: a function of the output tensor that returns a tensor;
    a random projection of the output by default. seconds: about how long the layers may take together; seed: of what is drawn.
    progress(done, of, path) is called after each operation.

    The model is checked in float64 and in the mode that it is in; its parameters, gradients, buffers and mode and the random
    state are left as they were. Results carry the layer's path, as in state_dict.
    """
    if not hasattr(model, "named_modules"):
        raise ArgumentError(f"check_model: {type(model).__name__} is not a Module; use check(function, inputs) for functions")
    start, rng = time.perf_counter(), generator(seed)
    saved = _Saved(model)
    try:
        model.astype("float64")
        x = np.asarray(x.data if isinstance(x, autograd.Tensor) else x, np.float64)
        count = max(1, _count(model, x))
        layers = _Layers(model, seconds / count, rng, progress and (lambda done, path: progress(done, count, path)))
        saved.randomness()
        with autograd.no_grad(), observing(layers):
            model(x)
        report = Report(layers.results, layers.faults)
        if report:
            _whole(model, x, loss, rng, report)
        else:
            report.notes.append("the model as a whole was not checked, since a layer of it is wrong")
    finally:
        saved.restore()
    report.seconds = time.perf_counter() - start
    return report


class _Saved:
    """Everything of a model that a check could change."""

    def __init__(self, model):
        self.random_state = random.get_state()
        self.parameters = [(p, p.data, p.grad, p.requires_grad) for p in model.parameters()]
        self.values = [data.copy() for _, data, _, _ in self.parameters]
        self.buffers = [(m, key, array, None if array is None else array.copy()) for m in model.modules()
                        for key, array in m._buffers.items()]
        self.modes = [(m, m.training) for m in model.modules()]

    def randomness(self):
        random.set_state(self.random_state)

    def restore(self):
        self.randomness()
        for (parameter, data, grad, requires_grad), values in zip(self.parameters, self.values):
            data[...] = values
            parameter.data, parameter.grad, parameter.requires_grad = data, grad, requires_grad
        for module, key, array, values in self.buffers:
            if array is not None:
                array[...] = values
            module._buffers[key] = array
        for module, training in self.modes:
            module.training = training


class _Counter:
    count = 0

    def forward(self, *_):
        self.count += 1


def _count(model, x):
    """How many ops one forward pass applies."""
    with autograd.no_grad(), observing(_Counter()) as counter:
        model(x)
    return counter.count


class _Layers:
    """An observer that checks each op right after the model applied it, so that no more than one layer's input is kept."""

    def __init__(self, model, seconds, rng, progress=None):
        self.progress, self.done = progress, 0
        self.paths = {id(module): name for name, module in model.named_modules()}
        self.parameters = {id(p): name for name, p in model.named_parameters()}
        self.seconds, self.rng = seconds, rng
        self.stack, self.results, self.faults = [], [], []

    def enter(self, module):
        self.stack.append(self.paths.get(id(module), type(module).__name__))

    def leave(self, module):
        self.stack.pop()

    def forward(self, op, inputs, output, seconds):
        path = self.stack[-1] if self.stack else ""
        names = [self._name(op, i, t, path, len(inputs)) for i, t in enumerate(inputs)]
        report = check_subject(OpSubject(op, [t.data for t in inputs], names), self.seconds, self.rng)
        for result in (*report.results, *report.faults):
            result.path = path
        for fault in report.faults:
            fault.name = f"{type(op).__name__} ({fault.name})"
        self.results += report.results
        self.faults += report.faults
        self.done += 1
        if self.progress:
            self.progress(self.done, path)

    def _name(self, op, i, tensor, path, count):
        known = self.parameters.get(id(tensor))
        if known is not None:
            return known.removeprefix(f"{path}.")
        return f"{type(op).__name__} input" + (f" {i}" if count > 1 and i else "")


class _WithLoss:
    """The model and its loss as one function, with the model's parameters."""

    def __init__(self, model, loss):
        self.model, self.loss = model, loss

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, x):
        return self.loss(self.model(x))


def _whole(model, x, loss, rng, report):
    """The chain: the input and all parameters moved at once; where that fails, each on its own to name it."""
    subject = FunctionSubject(model if loss is None else _WithLoss(model, loss), [x], ["x"])
    try:
        point = Point(subject)
        v = upstream(point.flat, rng)
        gradients = point.gradients(v)
        for _ in range(PROJECTIONS):
            directions = [direction(a, rng) for a in point.arrays]
            measured = judge_line(point, range(len(directions)), directions, gradients, v)
            if measured.verdict not in (*PASSED, Verdict.CANNOT_TELL):
                report.results += _culprits(point, directions, gradients, v, measured)
                return
        _say_passed(report, measured)
    except BackwardError as error:
        report.faults.append(Result("whole model", Verdict.NOT_CHECKABLE, f"backward raises {error}", kind="backward raises"))
    finally:
        subject.close()


def _say_passed(report, measured):
    """How sure the chain is: to many digits, to a few, or not at all for the kinks on the way."""
    smooth = int((~measured.slopes.kink & np.isfinite(measured.slopes.error)).sum())
    tested = f"the input and all parameters, {PROJECTIONS} projections of {smooth:,} of {measured.slopes.kink.size:,} outputs"
    vague = SAFETY * measured.numeric.error / max(abs(measured.analytic), abs(measured.numeric.value), ATOL)
    if measured.verdict in PASSED:
        report.results.append(Result("whole model", measured.verdict, tested=tested))
    elif vague <= CHAIN:
        report.results.append(Result("whole model", Verdict.RIGHT, f"to {vague:.1g} of its size, the kinks along the way allow "
                                     "no more", tested=tested))
    else:
        report.notes.append("the model as a whole: cannot tell, too many kinks along the way; each layer is right alone")


def _culprits(point, directions, gradients, v, measured):
    """The inputs and parameters whose gradient through the whole model is wrong."""
    reason = ("every layer alone is right, but not the chain: something is computed outside of ops or the graph is cut on the "
              "way")
    found = []
    for i, name in enumerate(point.subject.names):
        m = judge_line(point, [i], directions, gradients, v)
        if m.verdict in (Verdict.WRONG, Verdict.KINK_INVALID):
            kind = ("zero", "its gradient is zero throughout: the graph is cut") if not np.any(gradients[i]) else (None, None)
            found.append(Result(name, m.verdict, reason, "", None, m.analytic, m.numeric.value, m.numeric.error, *kind))
    return found or [Result("whole model", measured.verdict, reason)]
