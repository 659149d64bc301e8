"""One image on its way through a network: every operation's arrays and gradients, and what the answer rests on.

The network runs in evaluation mode, once for each class looked at. The gradients are those of one class's score, the
logit before any softmax, with respect to everything.
"""

import weakref
from dataclasses import dataclass, field

import numpy as np

from minicnn.autograd import Tensor, observing
from minicnn.errors import ShapeError
from minicnn.nn.module import Parameter
from minicnn.study.receptive_field import FieldObserver, ReceptiveField
from minicnn.study.trace import Tracer, dtype_of, preserved
from minicnn.training.evaluate import first_output

CLASSES = 5         # how many of the likeliest classes are looked at


@dataclass
class Node:
    """One operation of the pass.

    path: the dotted name of the module it ran in; op: the Op; inputs: for each input the number of the node that made it,
    -1 for the image, None for parameters and constants; arrays, y: inputs and output; gy, gradients: of the score with
    respect to the output and to each input, None where none flowed; field: the ReceptiveField or None; silent: for each
    channel of a map of values that are never negative, whether it was 0 everywhere, else None.
    """

    path: str
    op: object
    inputs: tuple
    arrays: list
    parameters: tuple
    y: np.ndarray
    field: ReceptiveField | None
    gy: np.ndarray | None = None
    gradients: tuple = ()
    silent: np.ndarray | None = None

    kind = property(lambda self: type(self.op).__name__)
    shape = property(lambda self: self.y.shape[1:] if self.y.ndim > 1 else self.y.shape)
    is_map = property(lambda self: self.y.ndim == 4)


@dataclass
class Answer:
    """A class: its score (logit) and probability, and three pictures of what in the image it rests on, each (H, W) or
    (H, W, C): saliency, guided (guided backpropagation) and cam (Grad-CAM; None for a network without maps)."""

    index: int
    name: str
    score: float
    probability: float
    saliency: np.ndarray
    guided: np.ndarray
    cam: np.ndarray | None


@dataclass
class Look:
    """What `look` found. picture: (H, W, C) of uint8; x: the network's input (C, H, W); nodes: in the order they ran, with
    the gradients of the first answer's score; answers: the class asked for, then the likeliest; label: the image's own
    class if it is known; images: how many decided which channels are silent; cam_node: whose maps Grad-CAM weighs."""

    picture: np.ndarray
    x: np.ndarray
    nodes: list
    answers: list
    label: str | None = None
    images: int = 1
    cam_node: int | None = None
    modules: dict = field(default_factory=dict)


class _Watcher(Tracer):
    """Makes a Node of each op. guided: gradients that would lower the score are stopped at every ReLU."""

    def __init__(self, model, image, guided=False):
        super().__init__(model)
        self.nodes, self._guided = [], guided
        self._numbers = weakref.WeakKeyDictionary({image: -1})
        self._fields, self._by_op = FieldObserver(image), {}

    def forward(self, op, inputs, output, seconds):
        self._fields.forward(op, inputs, output, seconds)
        self._numbers[output] = self._by_op[id(op)] = len(self.nodes)
        self.nodes.append(Node(self.path or "", op, tuple(self._numbers.get(t) for t in inputs), [t.data for t in inputs],
                               tuple(isinstance(t, Parameter) for t in inputs), output.data, self._fields.of(output)))
        if self._guided and "relu" in type(op).__name__.lower():
            op.backward = _only_positive(op.backward)

    def backward(self, op, gy, gradients, seconds):
        number = self._by_op.get(id(op))
        if number is not None:
            self.nodes[number].gy, self.nodes[number].gradients = gy, tuple(gradients)


def _only_positive(backward):
    return lambda gy: backward(np.maximum(gy, 0))


def look(model, x, picture, names=None, target=None, others=None, progress=None):
    """Send one image through `model` and its classes' scores back -> Look. The model stays as it was.

    x: the network's input (C, H, W); picture: the image as people see it, (H, W, C) of uint8; names: of the classes; target:
    the number of the class to look at first (the likeliest); others: more inputs (N, C, H, W), to tell which channels are
    silent on all of them. progress(done, of) is called after each pass. Raises ShapeError for an output without a batch axis
    or a target outside, and whatever the layers raise.
    """
    x = np.asarray(x, dtype_of(model))
    with preserved(model):
        model.eval()
        scores = _scores(first_output(model(Tensor(x[None]))))
        order, p = _classes(scores, target), _softmax(scores)
        step = _steps(progress, len(order) + 1)
        nodes, answers = None, []
        for index in order:
            found, answer = _answer(model, x, index)
            answers.append(Answer(index, _name(names, index), float(scores[index]), float(p[index]), *answer))
            nodes = nodes or found          # the others' arrays can go
            step()
        images = x[None] if others is None or not len(others) else np.concatenate([x[None], others.astype(x.dtype)])
        _mark_silent(model, nodes, images)
        step()
    return Look(np.asarray(picture), x, nodes, answers, images=len(images), cam_node=_cam_node(nodes),
                modules=dict(model.named_modules()))


def _answer(model, x, index):
    """(nodes, (saliency, guided, cam)) of one class."""
    nodes, gradient = _pass(model, x, index)
    _, guided = _pass(model, x, index, guided=True)
    place = _cam_node(nodes)
    return nodes, (np.abs(gradient).max(axis=0), guided.transpose(1, 2, 0),
                   None if place is None else _grad_cam(nodes[place]))


def _steps(progress, of):
    state = {"done": 0}

    def step():
        state["done"] += 1
        if progress:
            progress(state["done"], of)
    return step


def _scores(output):
    """One score a class: logits as they are; of maps (1, K, H, W) the mean of each."""
    y = output.data
    if y.ndim < 2 or len(y) != 1:
        raise ShapeError(f"look: the network made {y.shape} of one image; its output must be (1, classes), or (1, channels, …)")
    return y[0].reshape(y.shape[1], -1).mean(axis=1, dtype=np.float64)


def _classes(scores, target):
    order = [int(i) for i in np.argsort(-scores, kind="stable")[:CLASSES]]
    if target is None:
        return order
    if not 0 <= target < len(scores):
        raise ShapeError(f"look: there is no class {target}; the network has {len(scores)}, counted from 0")
    return [int(target), *[i for i in order if i != target]][:CLASSES]


def _pass(model, x, index, guided=False):
    """(nodes, gradient of the input (C, H, W)) of one class's score."""
    image = Tensor(x[None], requires_grad=True)
    watcher = _Watcher(model, image, guided)
    with observing(watcher):
        y = first_output(model(image))
        gradient = np.zeros_like(y.data)
        gradient[:, index] = 1 / max(1, int(np.prod(y.shape[2:])))
        if y.requires_grad:
            y.backward(gradient)
    return watcher.nodes, (np.zeros_like(x) if image.grad is None else image.grad[0])


def _mark_silent(model, nodes, images):
    """Find the channels that are 0 for all images, where an operation gives nothing negative."""
    for i in range(0, len(images), 8):
        image = Tensor(images[i:i + 8])
        watcher = _Watcher(model, image)
        with observing(watcher):
            model(image)
        if len(watcher.nodes) != len(nodes):
            return
        for node, found in zip(nodes, watcher.nodes):
            if node.y.ndim > 1 and found.y.size and found.y.min() >= 0:
                silent = ~found.y.reshape(*found.y.shape[:2], -1).any(axis=(0, 2))
                node.silent = silent if node.silent is None else node.silent & silent


def _cam_node(nodes):
    """The last node with maps of more than one pixel and a gradient: the last of the convolutional part."""
    places = [i for i, node in enumerate(nodes) if node.is_map and node.y.shape[2] * node.y.shape[3] > 1
              and node.gy is not None and node.field is not None and all(node.field.stride)]
    return places[-1] if places else None


def _grad_cam(node):
    """max(0, Σ_c weight_c · y[c]), weight_c the mean gradient of channel c.  Source: Selvaraju et al. 2017, equations 1, 2."""
    weights = node.gy[0].mean(axis=(1, 2))
    return np.maximum(np.tensordot(weights, node.y[0], 1), 0)


def _softmax(scores):
    p = np.exp(scores - scores.max())
    return p / p.sum()


def _name(names, index):
    return str(names[index]) if names is not None and index < len(names) else f"class {index}"
