"""The exceptions of the kernels. minicnn.errors re-exports them, so that users meet one family."""


class MinicnnError(Exception):
    """Any error that minicnn raises on purpose: the message has the value, the rule and the remedy."""


class ShapeError(MinicnnError, ValueError):
    """A shape, size or geometry that the operation cannot work with."""


class DTypeError(MinicnnError, TypeError):
    """A dtype other than those the operation takes; nothing is converted silently."""


class BackendError(MinicnnError, RuntimeError):
    """A rung, device or thread setting that is not there or cannot serve this call."""
