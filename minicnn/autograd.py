"""Tensors, operations and the backward pass: reverse-mode differentiation, first order.

An Op works on arrays. `apply` unwraps tensors, runs the op and, if a gradient is asked for, records it as the creator
of its output. A record leads to the records of its inputs, not to their data: what no op keeps and the caller drops is
free before the backward pass. `Tensor.backward` visits the recorded ops once, outputs before inputs, multiplies the upstream
gradient by each op's Jacobian (its `backward`), adds up where a tensor was used more than once, and drops what each op had
kept.
"""

import contextlib
import threading
import time

import numpy as np

from kernels import device
from kernels.activation import accumulate, add
from kernels.dispatch import FLOATS
from minicnn.errors import DTypeError, GraphError, ShapeError


class _Mode(threading.local):
    """What holds for the current thread: whether ops are recorded, and who watches them."""

    recording = True
    observers = ()


_mode = _Mode()


@contextlib.contextmanager
def no_grad():
    """Record nothing inside this with-block: evaluation needs no memory for a backward pass."""
    before, _mode.recording = _mode.recording, False
    try:
        yield
    finally:
        _mode.recording = before


@contextlib.contextmanager
def observing(observer):
    """Tell `observer` about every op inside this with-block.

    observer.forward(op, inputs, output, seconds) after each forward; observer.backward(op, gy, gradients, seconds) after
    each backward, arrays both; observer.enter(module) and observer.leave(module) around each nn.Module call. Those that it
    does not have are left out.
    """
    before, _mode.observers = _mode.observers, (*_mode.observers, observer)
    try:
        yield observer
    finally:
        _mode.observers = before


def notify(event, *args):
    """Call `event` of every observer that has it."""
    for observer in _mode.observers:
        if hasattr(observer, event):
            getattr(observer, event)(*args)


def observed():
    """True while anyone watches."""
    return bool(_mode.observers)


def recording():
    """False inside no_grad()."""
    return _mode.recording


class Op:
    """One differentiable operation, used once: arguments that are not arrays go to __init__.

    `needs` is set before `forward`: for each input, whether its gradient will be asked for.
    """

    needs = ()
    makes_gradients = "unknown"     # "new" or "parts of gy" (disjoint ones) lets the engine add to them in place
    adds_gradients = False          # whether backward adds the first input's gradient to `onto`, if set, and returns that
    onto = None
    owns_gy = False                 # set before backward: nobody else holds gy, so that its memory may become a gradient's

    def check(self, *arrays):
        """Raise an error of minicnn.errors if `forward` cannot take these arrays: the value, the rule, the remedy."""

    def forward(self, *arrays):
        """Arrays in, one array out. Keep on self what `backward` needs; never change an input."""
        raise NotImplementedError

    def backward(self, gy):
        """The gradient for each input (an array, a tuple of them, or None where it needs none), given the output's."""
        raise NotImplementedError

    def macs(self, output_shape, *input_shapes):
        """Multiply-accumulates of the forward pass; 0 for what is not a sum of products."""
        return 0

    def flops(self, output_shape, *input_shapes):
        """Operations of the forward pass: 2 x MACs, or one for each output value where there are no MACs."""
        return 2 * self.macs(output_shape, *input_shapes) or int(np.prod(output_shape))


def no_flops(op, output_shape, *input_shapes):
    """Op.flops of what moves values and computes none."""
    return 0


class Record:
    """An op, the shape and dtype of its output, and where its gradients go; emptied by the backward pass.

    sources: for each input the record of the op that made it, the tensor itself if it is a leaf, None if it needs no gradient.
    """

    __slots__ = ("dtype", "op", "shape", "sources")

    def __init__(self, op, inputs, output):
        self.op, self.shape, self.dtype = op, output.shape, output.dtype
        self.sources = [_source(t) if needed else None for t, needed in zip(inputs, op.needs)]


def _source(tensor):
    """What a gradient for a tensor goes to: the record of the op that made it, or the tensor itself if it is a leaf."""
    return tensor if tensor._creator is None else tensor._creator


def apply(op, *inputs):
    """Apply an Op to tensors or arrays -> Tensor. Raises whatever op.check raises, and GraphError for an op used before."""
    if op.needs:
        raise GraphError(f"{type(op).__name__} object applied twice; make a new one for each application")
    tensors = [as_tensor(x) for x in inputs]
    op.needs = tuple([_mode.recording and t.requires_grad for t in tensors]) or (False,)
    arrays = [t.data for t in tensors]
    device.place(type(op).__name__, arrays)
    op.check(*arrays)
    start = time.perf_counter()
    y = op.forward(*arrays)
    seconds = time.perf_counter() - start
    output = Tensor(y)
    if any(op.needs):
        output.requires_grad, output._creator = True, Record(op, tensors, y)
    if _mode.observers:
        notify("forward", op, tensors, output, seconds)
    return output


class Tensor:
    """An array of float32 or float64 that can ask for its gradient.

    data: the ndarray (or what becomes one; Python numbers and lists become float32, arrays keep their dtype).
    grad: None, or an array of data's shape and dtype, added to by every backward pass.
    Raises DTypeError for other dtypes: labels and indices stay arrays.
    """

    __slots__ = ("__weakref__", "_creator", "data", "grad", "requires_grad")
    __array_ufunc__ = None          # array + tensor is the tensor's __radd__

    def __init__(self, data, requires_grad=False):
        self.data = data if type(data) is np.ndarray and data.dtype in FLOATS else _as_data(data)
        self.requires_grad = requires_grad
        self.grad = None
        self._creator = None

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    device = property(lambda self: self.data.device)        # "cpu" or "cuda"

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype=dtype, copy=copy)

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        note = "" if self.device == "cpu" else f", device={self.device!r}"
        note += ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(np.asarray(self.data), prefix='Tensor(', separator=', ')}, dtype={self.dtype}{note})"

    def item(self):
        """The one value as a Python float."""
        return self.data.item()

    def detach(self):
        """The same data without its history."""
        return Tensor(self.data)

    def backward(self, gradient=None):
        """Add the gradient of this tensor to `grad` of every leaf that requires one.

        gradient: the upstream gradient, an array of this shape; 1 for a single value. What the graph kept is dropped on
        the way. Raises GraphError without a graph, or if it was used before; ShapeError, DTypeError for `gradient`.
        """
        if not self.requires_grad:
            raise GraphError("backward: this tensor was computed without gradients; set requires_grad=True on an input "
                             "and stay outside no_grad()")
        root = _source(self)
        gradients, own = {id(root): _upstream(self, gradient)}, {id(root)}
        for node in _outputs_first(root):
            gy = gradients.pop(id(node))
            if isinstance(node, Record):
                _step_back(node, gy, gradients, own)
            else:
                node.grad = gy if node.grad is None else add(node.grad, gy)


def _as_data(data):
    """The array for a Tensor of `data`; raises DTypeError."""
    if isinstance(data, Tensor):
        data = data.data
    if not isinstance(data, np.ndarray | np.generic | device.DeviceArray):
        data = np.asarray(data, np.float32)
    if data.dtype not in FLOATS:
        raise DTypeError(f"Tensor: dtype {data.dtype} is neither float32 nor float64; convert with "
                         ".astype('float32'), or keep labels and indices as arrays")
    return data if device.is_on_device(data) else np.asarray(data)


def as_tensor(x):
    """x itself if it is a Tensor, else a Tensor of it without a gradient."""
    return x if isinstance(x, Tensor) else Tensor(x)


def _upstream(tensor, gradient):
    if gradient is None:
        if tensor.size != 1:
            raise ShapeError(f"backward: a tensor of shape {tensor.shape} is not one value; pass gradient=, an array of "
                             "this shape, or reduce it with ops.sum or ops.mean first")
        return np.ones_like(tensor.data)
    gradient = gradient.data if isinstance(gradient, Tensor) else gradient
    gradient = gradient.copy() if device.is_on_device(gradient) else np.array(gradient)
    if gradient.shape != tensor.shape:
        raise ShapeError(f"backward: gradient has shape {gradient.shape}, the tensor {tensor.shape}; they must be equal")
    if gradient.dtype != tensor.dtype:
        raise DTypeError(f"backward: gradient has dtype {gradient.dtype}, the tensor {tensor.dtype}; they must be equal")
    return device.to(gradient, tensor.device)


def _outputs_first(root):
    """All records and leaves that the gradient of `root` flows through, each before what it was made of.

    Depth first with a stack of our own: a recursion would end at a depth of about a thousand layers.
    """
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if isinstance(node, Record):
                if node.op is None:
                    raise GraphError("backward: this graph was used by an earlier backward pass, which dropped what it kept; "
                                     "run the forward pass again, or add the losses up and call backward once")
                stack.extend((source, False) for source in node.sources if source is not None)
    while order:                    # pops, so that records and what they hold can go as the pass moves on
        yield order.pop()


def _step_back(record, gy, gradients, own):
    """Multiply gy by the Jacobian of a recorded op, and add the results to the gradients of what it was applied to.

    own: ids of the records and leaves whose gradient is an array that nobody else holds, so that it may be added to in place.
    """
    op, sources = record.op, record.sources
    record.op = record.sources = None
    start = time.perf_counter()
    _give_gradients(op, sources, gradients, own)
    op.owns_gy = id(record) in own and not _mode.observers
    results = op.backward(gy)
    seconds = time.perf_counter() - start
    results = results if isinstance(results, (tuple, list)) else (results,)
    if len(results) != len(sources):
        raise GraphError(f"{type(op).__name__}.backward returned {len(results)} gradients for {len(sources)} inputs; "
                         "return one for each, None where there is none")
    taken = [gy]
    for i, (x, g) in enumerate(zip(sources, results)):
        if x is not None:
            _check_gradient(op, i, x, g)
            if gradients.get(id(x)) is g and op.onto is g:          # the op has added it itself
                continue
            # A leaf keeps its gradient: it must not share memory with another's.
            is_leaf = not isinstance(x, Record)
            if is_leaf and op.makes_gradients != "new" and any(np.may_share_memory(g, other) for other in taken):
                g = g.copy()
            taken.append(g)
            if id(x) not in gradients:
                gradients[id(x)] = g
                (own.add if _is_new(op, g, gy, id(record) in own) else own.discard)(id(x))
            elif id(x) in own:
                accumulate(gradients[id(x)], g)
            else:
                gradients[id(x)] = add(gradients[id(x)], g)
                own.add(id(x))
    if _mode.observers:
        notify("backward", op, gy, results, seconds)


def _give_gradients(op, sources, gradients, own):
    """For an op that can add to a gradient that is there: the one of its first input, if nobody else holds it."""
    if op.adds_gradients and sources[0] is not None and id(sources[0]) in own and not _mode.observers:
        op.onto = gradients.get(id(sources[0]))


def _is_new(op, g, gy, gy_is_own):
    """Whether a gradient that op.backward returned is held by nobody else: made anew, or a part of gy that no other gets."""
    if _mode.observers or not g.flags.writeable:
        return False
    return op.makes_gradients == "new" or (op.makes_gradients == "parts of gy" and gy_is_own)


def _check_gradient(op, i, x, g):
    name = f"{type(op).__name__}.backward: gradient {i}"
    if g is None:
        raise GraphError(f"{name} is None, but this input needs one; return an array")
    if g.shape != x.shape:
        raise ShapeError(f"{name} has shape {g.shape}, its input {x.shape}; sum over the axes that were broadcast")
    if g.dtype != x.dtype:
        raise DTypeError(f"{name} has dtype {g.dtype}, its input {x.dtype}; compute it in the input's dtype")
