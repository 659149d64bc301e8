"""Stochastic gradient descent."""

import numpy as np

import kernels.sgd as kernel
from kernels import device
from minicnn.errors import ArgumentError, CheckpointError


class SGD:
    """Stochastic gradient descent with momentum, Nesterov momentum and weight decay, as PyTorch computes them:

        g ← g + weight_decay · w;   v ← momentum · v + g (v = g at the first step);
        w ← w - lr · v,  or with Nesterov  w ← w - lr · (g + momentum · v)

    The learning rate stands outside the velocity (Sutskever et al. 2013 and AlexNet's paper have it inside; the paths
    differ when lr changes). Raises ArgumentError for values outside their range or an empty list of parameters.
    """

    def __init__(self, parameters, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
        self.parameters = list(parameters)
        if not self.parameters:
            raise ArgumentError("SGD: no parameters given; pass model.parameters()")
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ArgumentError(f"SGD: {name} {value} is negative or not a number; pass 0 or more")
        if nesterov and not momentum > 0:
            raise ArgumentError("SGD: nesterov needs a momentum above 0; papers use 0.9")
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.velocities = [None] * len(self.parameters)

    def step(self):
        """Update every parameter that has a gradient, in place."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        for i in moved if self.momentum else ():
            if self.velocities[i] is None:
                self.velocities[i] = np.zeros_like(self.parameters[i].data)
        weights, gradients = ([getattr(self.parameters[i], name) for i in moved] for name in ("data", "grad"))
        kernel.step_all(weights, gradients, [self.velocities[i] for i in moved], self.lr, self.momentum, self.weight_decay,
                        self.nesterov)

    def zero_grad(self):
        """Forget every parameter's gradient."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self):
        """{"lr", "momentum", "weight_decay", "nesterov", "velocities"}: numbers, and one array or None a parameter."""
        return {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay, "nesterov": self.nesterov,
                "velocities": list(self.velocities)}

    def load_state_dict(self, state):
        """Go on from what state_dict returned. Raises CheckpointError if it is for other parameters."""
        shapes = [None if v is None else np.shape(v) for v in state["velocities"]]
        if len(shapes) != len(self.parameters) or any(
                shape not in (None, p.shape) for shape, p in zip(shapes, self.parameters)):
            raise CheckpointError(f"SGD: the state has {len(shapes)} velocities whose shapes do not fit the "
                                  f"{len(self.parameters)} parameters; load it into the optimiser of the same model")
        for name in ("lr", "momentum", "weight_decay", "nesterov"):
            setattr(self, name, state[name])
        self.velocities = [None if v is None else device.to(np.array(v, p.dtype), p.device)
                           for v, p in zip(state["velocities"], self.parameters)]
