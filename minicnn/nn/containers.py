"""Modules made of modules."""

from minicnn.autograd import observed
from minicnn.nn.fused import conv_relu, norm_relu
from minicnn.nn.layers import BatchNorm2d, Conv2d, ReLU
from minicnn.nn.module import Module

WITH_RELU = {Conv2d: conv_relu, BatchNorm2d: norm_relu}


class Sequential(Module):
    """Modules one after the other, named "0", "1", … or as a dict says.

    A Conv2d or BatchNorm2d with a ReLU behind it is computed with it in one pass, unless anyone watches.
    """

    def __init__(self, *modules):
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], dict) else enumerate(modules)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, x):
        layers = list(self._modules.values())
        while layers:
            layer = layers.pop(0)
            if layers and not observed() and type(layers[0]) is ReLU and type(layer) in WITH_RELU:
                layers.pop(0)
                x = WITH_RELU[type(layer)](layer, x)
            else:
                x = layer(x)
        return x

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, i):
        modules = list(self._modules.values())
        return Sequential(*modules[i]) if isinstance(i, slice) else modules[i]

    def append(self, module):
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self


class ModuleList(Sequential):
    """Modules in a list, named "0", "1", …; the owner calls them."""

    def __init__(self, modules=()):
        super().__init__(*modules)

    def forward(self, *args):
        raise NotImplementedError("a ModuleList is not called; its owner calls the modules in it")
