"""Each contender's training step and inference behind the same few methods.

An engine has `step(images, labels)` (forward, loss, backward, update: the loss), `infer(images)` (logits), `take(images)` (an
array as the engine wants it), `values(logits)` (back to an array), `set_dropout(on)`, and `compilations()` (a context
manager; how many functions were compiled inside it). What it needs is imported when it is made: each lives in a process
of its own.
"""

import contextlib
from types import SimpleNamespace

MOMENTUM, WEIGHT_DECAY, LEARNING_RATE = 0.9, 1e-4, 1e-3


class Minicnn:
    """This engine. fused: batch norm is folded into the convolutions (inference). rungs: pinned ones, {op: rung}."""

    def __init__(self, model, weights, dtype, training, fused=False, rungs=()):
        import kernels
        from minicnn import models, optim
        self.model = models.create(model).astype(dtype)
        self.model.load_state_dict(_arrays(weights))
        self.model.train(training)
        if fused:
            self.model.fuse()
        self.optimizer = optim.SGD(self.model.parameters(), LEARNING_RATE, MOMENTUM, WEIGHT_DECAY)
        self.pins = contextlib.ExitStack()
        self.pins.enter_context(kernels.using(**dict(rungs)))

    def take(self, images):
        return images

    def values(self, logits):
        return logits.data

    def step(self, images, labels):
        from minicnn import Tensor, ops
        output = self.model(Tensor(images))
        loss = self.model.loss(output, labels) if hasattr(self.model, "loss") else ops.cross_entropy(output, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def infer(self, images):
        from minicnn import Tensor, no_grad
        with no_grad():
            return self.model(Tensor(images))

    def set_dropout(self, on):
        from minicnn import nn
        set_dropout(self.model, nn.Dropout, on)

    @contextlib.contextmanager
    def compilations(self):
        from minicnn.study.compilation import watching
        with watching() as seen:
            yield seen


class Torch:
    """PyTorch: eager in the layout NCHW or channels_last, or through torch.compile."""

    def __init__(self, model, weights, dtype, training, threads, channels_last=False, compiled=False):
        import torch

        from benchmarks.torch_models import TWINS
        torch.set_num_threads(threads)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.plain = TWINS[model]().to(getattr(torch, dtype))
        self.plain.load_state_dict({name: torch.from_numpy(array) for name, array in _arrays(weights).items()})
        self.plain = self.plain.to(memory_format=self.layout).train(training)
        self.model = torch.compile(self.plain) if compiled else self.plain
        self.optimizer = torch.optim.SGD(self.plain.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)

    def take(self, images):
        import torch
        return torch.from_numpy(images).contiguous(memory_format=self.layout)

    def values(self, logits):
        return logits.numpy()

    def step(self, images, labels):
        import torch

        from benchmarks.torch_models import loss
        value = loss(self.model(images), torch.from_numpy(labels))
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        return value.item()

    def infer(self, images):
        import torch
        with torch.inference_mode():
            return self.model(images)

    def set_dropout(self, on):
        import torch
        set_dropout(self.plain, torch.nn.Dropout, on)

    @contextlib.contextmanager
    def compilations(self):
        from torch._dynamo.utils import counters
        before, seen = counters["frames"]["total"], SimpleNamespace(compiled=0)
        yield seen
        seen.compiled = counters["frames"]["total"] - before

    def export(self, path, images):
        """Write the model as an ONNX file for images of this shape."""
        import warnings

        import torch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # the exporter that needs no further package says that it is the old one
            torch.onnx.export(self.plain.eval(), (torch.from_numpy(images),), path, dynamo=False, opset_version=17)


class OnnxRuntime:
    """ONNX Runtime on the file that Torch.export wrote, with its default optimisations."""

    def __init__(self, path, threads):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def take(self, images):
        return images

    def values(self, logits):
        return logits

    def infer(self, images):
        return self.session.run(None, {self.input: images})[0]

    @contextlib.contextmanager
    def compilations(self):
        yield SimpleNamespace(compiled=0)


def _arrays(path):
    from safetensors.numpy import load_file
    return load_file(path)


def set_dropout(model, kind, on):
    """Dropout draws differ between engines: off where losses are compared, on where steps are timed."""
    for module in model.modules():
        if isinstance(module, kind):
            module.paper_p = getattr(module, "paper_p", module.p)
            module.p = module.paper_p if on else 0.0
