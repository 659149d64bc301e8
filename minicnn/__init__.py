"""minicnn: convolutional networks from scratch on NumPy and Numba.

Every layer reads like its formula and is checked against finite differences.

    from minicnn import Tensor, no_grad, ops, nn, models, optim, io, gradcheck, data
"""

import importlib

from minicnn._version import __version__

__all__ = ["Tensor", "__version__", "autograd", "data", "errors", "gradcheck", "io", "models", "nn", "no_grad", "ops",
           "optim", "random", "record", "seed", "study", "training"]


def _own_kernels():
    """Raise ImportError unless the package `kernels` is minicnn's: other distributions install one of that name too."""
    import kernels
    if getattr(kernels, "__minicnn__", False):
        return
    from importlib.metadata import packages_distributions
    owners = [name for name in packages_distributions().get("kernels", []) if name != "minicnn"]
    who = " and ".join(sorted(set(owners))) or "another project"
    place = getattr(kernels, "__file__", None) or next(iter(getattr(kernels, "__path__", ["an unknown place"])))
    remedy = f"pip uninstall {' '.join(sorted(set(owners)))}" if owners else "remove it from sys.path"
    raise ImportError(f"minicnn needs its own package 'kernels', but found that of {who} at {place}; {remedy} and "
                      "reinstall minicnn, or use a virtual environment for minicnn alone", name="kernels")


_own_kernels()

from minicnn import autograd, errors, nn, ops, optim, random  # noqa: E402
from minicnn.autograd import Tensor, no_grad  # noqa: E402
from minicnn.random import seed  # noqa: E402

_LAZY = {"models": "minicnn.models", "io": "minicnn.io", "gradcheck": "minicnn.gradcheck", "data": "minicnn.data",
         "training": "minicnn.training", "study": "minicnn.study"}


def __getattr__(name):
    """Rooms that an import of minicnn does not need are loaded at first use."""
    if name in _LAZY:
        return importlib.import_module(_LAZY[name])
    if name == "record":
        from minicnn.study import record
        return record
    raise AttributeError(f"module 'minicnn' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
