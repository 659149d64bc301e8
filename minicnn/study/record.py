"""What flows through a network: the activations and gradients of its layers by name."""

import contextlib
import weakref

from minicnn.autograd import Tensor, observing


class Recording:
    """activations, gradients: {module path: array}, of each module's output; "" is the whole network.

    The arrays are the network's own, detached from the graph: copy one before changing it. A module that ran several
    times shows its last run; a module that returns several tensors has them as "name[0]", "name[1]", … A gradient is
    there once backward has passed; a module whose output no gradient flowed to has none.
    """

    def __init__(self):
        self.activations, self.gradients = {}, {}
        self._makers = weakref.WeakKeyDictionary()      # tensor -> id of the op that made it
        self._names = {}                                # id of an op -> names of its output
        self._latest = {}                               # name -> id of the op that made its last activation

    def forward(self, op, inputs, output, seconds):
        self._makers[output] = id(op)
        self._names[id(op)] = []        # and not those of an op that had this id and is gone

    def backward(self, op, gy, gradients, seconds):
        for name in self._names.pop(id(op), ()):
            if self._latest.get(name) == id(op):
                self.gradients[name] = gy

    def keep(self, name, result):
        """Remember what the module `name` returned: a tensor, or several."""
        if isinstance(result, Tensor):
            self.activations[name] = result.data
            self.gradients.pop(name, None)
            self._latest[name] = maker = self._makers.get(result)
            if maker is not None:
                self._names[maker].append(name)
        elif isinstance(result, tuple | list):
            for i, part in enumerate(result):
                self.keep(f"{name}[{i}]", part)


@contextlib.contextmanager
def record(model):
    """Collect the activations and gradients of every module of `model` inside this with-block -> Recording.

        with minicnn.record(model) as r:
            ops.cross_entropy(model(x), labels).backward()
        r.activations["layer1.0.conv1"], r.gradients["layer1.0.conv1"]

    Afterwards, also after an exception, the model is as it was and what was collected stays readable.
    """
    recording = Recording()
    with contextlib.ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(_restore, module, module.__dict__.get("forward"))
            _wrap(module, name, recording)
        stack.enter_context(observing(recording))
        yield recording


def _wrap(module, name, recording):
    """Put a forward that tells `recording` before the class's own."""
    forward = module.forward

    def recorded(*args, **kwargs):
        result = forward(*args, **kwargs)
        recording.keep(name, result)
        return result
    object.__setattr__(module, "forward", recorded)


def _restore(module, forward):
    if forward is None:
        del module.__dict__["forward"]
    else:
        object.__setattr__(module, "forward", forward)
