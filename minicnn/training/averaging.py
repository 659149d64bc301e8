"""What is computed from the weights beside training them: their moving average, and batch norm's statistics anew."""

import contextlib

from minicnn.autograd import Tensor, no_grad
from minicnn.errors import ArgumentError
from minicnn.nn import BatchNorm2d
from minicnn.training.batches import prepared


class WeightAverage:
    """An exponential moving average of a model's parameters and floating buffers, a += (1 - d)(w - a) after each step.

    d = min(decay, (1 + t) / (10 + t)) at step t, so that the first weights, which are random, are forgotten soon.
    Sources: Polyak and Juditsky 1992; the ramp is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model, decay):
        if not 0 < decay < 1:
            raise ArgumentError(f"ema_decay {decay} is not between 0 and 1; the usual values are 0.99 to 0.9999")
        self.model, self.decay, self.steps = model, decay, 0
        self.arrays = {name: array.copy() for name, array in model.state_dict().items()}

    def update(self):
        """Take the model's present weights in."""
        self.steps += 1
        rate = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, array in self.model.state_dict().items():
            kept = self.arrays[name]
            if array.dtype.kind == "f":
                kept += rate * (array - kept)
            else:
                kept[...] = array

    @contextlib.contextmanager
    def applied(self):
        """Inside this with-block the model has the averaged weights."""
        trained = {name: array.copy() for name, array in self.model.state_dict().items()}
        self.model.load_state_dict(self.arrays)
        try:
            yield
        finally:
            self.model.load_state_dict(trained)


def recompute_batch_norm(model, batches):
    """Set every running mean and variance to the average over `batches` (images, labels), with the weights as they are.

    During training they trail the changing weights. He et al. 2016 (authors' repository) do this once training is over.
    Dropout is off. Does nothing for a model without batch norm.
    """
    layers = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    model.eval()
    try:
        for count, (images, _) in enumerate(prepared(batches, model), 1):
            for layer in layers:
                layer.training, layer.momentum = True, 1 / count      # the plain average of what was seen so far
            with no_grad():
                model(Tensor(images))
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.training, layer.momentum = False, momentum
