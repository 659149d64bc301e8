"""Module: parameters, buffers and submodules under dotted names, as state_dicts of PyTorch have them."""

import numpy as np

from kernels import device
from kernels.dispatch import FLOATS
from minicnn import autograd
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, CheckpointError, DTypeError


class Parameter(Tensor):
    """A tensor that its module lists in parameters() and that asks for its gradient."""

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad)


class Module:
    """A layer or a network: assign parameters and modules as attributes, and write forward().

    Buffers (arrays that belong to the state but are not trained, such as running means) are declared with
    register_buffer. The order of assignment is the order of state_dict.
    """

    def __init__(self):
        for table in ("_parameters", "_buffers", "_modules"):
            object.__setattr__(self, table, {})
        self.training = True

    def forward(self, *args):
        """Compute the output; every module has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; write one")

    def __call__(self, *args, **kwargs):
        if not autograd.observed():
            return self.forward(*args, **kwargs)
        autograd.notify("enter", self)
        try:
            return self.forward(*args, **kwargs)
        finally:
            autograd.notify("leave", self)

    def __setattr__(self, name, value):
        if "_modules" not in self.__dict__:
            raise ArgumentError(f"{type(self).__name__}.{name} assigned before Module.__init__; "
                                "call super().__init__() first in __init__")
        home = self._modules if isinstance(value, Module) else self._parameters if isinstance(value, Parameter) else None
        for table in (self._parameters, self._buffers, self._modules):
            if name in table and table is not home:
                if home is None and table is self._buffers and isinstance(value, np.ndarray | device.DeviceArray):
                    home = table
                elif home is None and value is None:
                    home = table            # layers without a bias keep the name with None
                else:
                    del table[name]
        if home is None:
            object.__setattr__(self, name, value)
        else:
            self.__dict__.pop(name, None)
            home[name] = value

    def __getattr__(self, name):
        own = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            if name in own.get(table, ()):
                return own[table][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name):
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                return
        object.__delattr__(self, name)

    def register_buffer(self, name, array):
        """Make an array part of the state_dict without training it; None reserves the name."""
        self.__dict__.pop(name, None)
        self._buffers[name] = array

    def register_parameter(self, name, parameter):
        """As assigning the attribute, but None may reserve the name."""
        self.__dict__.pop(name, None)
        self._parameters[name] = parameter

    def add_module(self, name, module):
        """As assigning the attribute; the name may be a number."""
        self._modules[name] = module

    def children(self):
        """The modules directly inside this one."""
        return (module for module in self._modules.values() if module is not None)

    def named_modules(self, prefix=""):
        """(dotted name, module) for this module, named `prefix`, and all inside it, each once, depth first."""
        seen = set()

        def walk(module, name):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module
                for key, child in module._modules.items():
                    if child is not None:
                        yield from walk(child, f"{name}.{key}" if name else key)
        return walk(self, prefix)

    def modules(self):
        """This module and all inside it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self):
        """(dotted name, Parameter), each once."""
        return self._named("_parameters")

    def parameters(self):
        """Every Parameter, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self):
        """(dotted name, array), each once."""
        return self._named("_buffers")

    def _named(self, table):
        seen = set()
        for prefix, module in self.named_modules():
            for key, value in module.__dict__[table].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{prefix}.{key}" if prefix else key), value

    def train(self, mode=True):
        """Training mode (batch statistics, dropout) for this module and all inside it; returns the module."""
        for module in self.modules():
            module.training = mode
        return self.unfuse() if mode else self

    def eval(self):
        """Evaluation mode; returns the module."""
        return self.train(False)

    def fuse(self):
        """Make the model ready for inference: evaluation mode, each batch norm behind a convolution folded into its weights,
        and weights packed once instead of at every call. In place; returns the module.

        The same numbers up to rounding. The weights are those of the first call afterwards: fuse again after changing them.
        train(), load_state_dict() and astype() undo it.
        """
        self.eval()
        for module in self.modules():
            if hasattr(module, "fused"):
                module.fused = {}
        return self

    def unfuse(self):
        """Undo fuse(); returns the module."""
        for module in self.modules():
            if getattr(module, "fused", None) is not None:
                module.fused = None
        return self

    def zero_grad(self):
        """Forget every parameter's gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    def astype(self, dtype):
        """Convert all parameters and floating buffers to float32 or float64, in place; returns the module."""
        if np.dtype(dtype) not in FLOATS:
            raise DTypeError(f"astype: dtype {dtype} is neither float32 nor float64; choose one of them")
        self.unfuse()
        for module in self.modules():
            for parameter in module._parameters.values():
                if parameter is not None:
                    parameter.data, parameter.grad = parameter.data.astype(dtype), None
            for key, array in module._buffers.items():
                if array is not None and array.dtype.kind == "f":
                    module._buffers[key] = array.astype(dtype)
        return self

    def to(self, target):
        """Move all parameters and floating buffers to "cpu" or "cuda", in place; returns the module.

        Make the optimiser after it: gradients and velocities belong to the device. Counters stay on the host. Raises
        BackendError where there is no GPU.
        """
        self.unfuse()
        for module in self.modules():
            for parameter in module._parameters.values():
                if parameter is not None:
                    parameter.data, parameter.grad = device.to(parameter.data, target), None
            for key, array in module._buffers.items():
                if array is not None and array.dtype.kind == "f":
                    module._buffers[key] = device.to(array, target)
        return self

    def state_dict(self):
        """Every parameter's and buffer's array under its dotted name; the arrays are the module's own, not copies."""
        state = {}
        for prefix, module in self.named_modules():
            dot = f"{prefix}." if prefix else ""
            state.update({dot + key: p.data for key, p in module._parameters.items() if p is not None})
            state.update({dot + key: b for key, b in module._buffers.items() if b is not None})
        return state

    def load_state_dict(self, state, strict=True):
        """Copy arrays into the parameters and buffers of the same names, in the module's dtype.

        Raises CheckpointError that lists missing, unexpected and mis-shaped names, before anything is changed; with
        strict=False missing and unexpected names are left alone. Returns (missing, unexpected) as lists.
        """
        own = self.state_dict()
        # Files from before PyTorch 0.4.1 have no num_batches_tracked; nothing depends on it.
        missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
        unexpected = [name for name in state if name not in own]
        arrays = {name: np.asarray(state[name]) for name in own if name in state}
        misshaped = [f"{name} {arrays[name].shape} for {own[name].shape}" for name in arrays
                     if arrays[name].shape != own[name].shape]
        faults = [("mis-shaped", misshaped)]
        if strict:
            faults += [("missing", missing), ("unexpected", unexpected)]
        found = [f"{len(names)} {kind} ({_shorten(names)})" for kind, names in faults if names]
        if found:
            or_not = "" if misshaped else ", or pass strict=False"
            raise CheckpointError(f"{type(self).__name__}: the weights do not fit the model: {'; '.join(found)}; "
                                  f"choose the model and num_classes they were made for{or_not}")
        self.unfuse()
        for name, array in arrays.items():
            own[name][...] = array
        return missing, unexpected

    def extra_repr(self):
        """What stands in the parentheses of repr; layers say their arguments."""
        return ""

    def __repr__(self):
        lines = [f"({key}): " + repr(child).replace("\n", "\n  ") for key, child in self._modules.items()]
        inside = "\n  ".join(lines)
        return f"{type(self).__name__}({self.extra_repr()}" + (f"\n  {inside}\n)" if lines else ")")


def _shorten(names, most=5):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
