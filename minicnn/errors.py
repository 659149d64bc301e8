"""Every exception of minicnn, in one place. Each message has the value, the rule and the remedy."""

from kernels.errors import BackendError, DTypeError, MinicnnError, ShapeError

__all__ = ["ArgumentError", "BackendError", "CheckpointError", "DTypeError", "DataError", "GraphError",
           "MinicnnError", "ModelError", "ShapeError", "TrainingError"]


class ArgumentError(MinicnnError, ValueError):
    """An argument outside its range."""


class GraphError(MinicnnError, RuntimeError):
    """A backward pass that the recorded graph cannot give."""


class CheckpointError(MinicnnError, ValueError):
    """A weight or checkpoint file that is damaged, unsafe, or does not fit the model."""


class DataError(MinicnnError, ValueError):
    """A data set or image file that is missing, damaged or not what was expected."""


class ModelError(MinicnnError, ValueError):
    """A model name or option that is not there."""


class TrainingError(MinicnnError, RuntimeError):
    """Training that cannot go on, for example after a loss that is not finite."""
