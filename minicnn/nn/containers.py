"""Modules made of modules."""

from minicnn.autograd import observed
from minicnn.nn.fused import conv_norm, conv_norm_relu, conv_relu, conv_relu_pool, norm_relu
from minicnn.nn.layers import BatchNorm2d, Conv2d, MaxPool2d, ReLU
from minicnn.nn.module import Module

TOGETHER = {        # kinds of layers that are computed together -> how
    (Conv2d, BatchNorm2d, ReLU): lambda conv, norm, _, x: conv_norm_relu(conv, norm, x),
    (Conv2d, BatchNorm2d): conv_norm,
    (Conv2d, ReLU, MaxPool2d): lambda conv, _, pool, x: conv_relu_pool(conv, pool, x),
    (Conv2d, ReLU): lambda conv, _, x: conv_relu(conv, x),
    (BatchNorm2d, ReLU): lambda norm, _, x: norm_relu(norm, x)}


class Sequential(Module):
    """Modules one after the other, named "0", "1", … or as a dict says.

    Convolution, batch norm, ReLU and max pooling that follow each other are computed together, unless anyone watches.
    """

    def __init__(self, *modules):
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], dict) else enumerate(modules)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, x):
        layers = list(self._modules.values())
        while layers:
            kinds = tuple(type(layer) for layer in layers[:3])
            together = next((n for n in (3, 2) if kinds[:n] in TOGETHER and not observed()), 1)
            x = TOGETHER[kinds[:together]](*layers[:together], x) if together > 1 else layers[0](x)
            layers = layers[together:]
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
