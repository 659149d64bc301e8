"""One contender at work in its own process: its engine, its input, its clock."""

import time

import numpy as np

from benchmarks import engines
from benchmarks.workers import BenchmarkError


def batch(shape, classes, dtype, seed=0):
    """(images, labels) that every contender draws alike: normal values (N, C, H, W), labels below `classes`."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape, np.float32).astype(dtype), rng.integers(0, classes, shape[0])


def timed(run, compilations, seconds, what):
    """Seconds of each run(), at least one, as many as fit into `seconds`. Raises BenchmarkError if anything compiled."""
    times = []
    with compilations() as seen:
        while not times or sum(times) < seconds:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    if seen.compiled:
        raise BenchmarkError(f"{seen.compiled} functions were compiled inside the timed {what}; its time means nothing")
    return times


class Session:
    """engine: a class of benchmarks.engines, arguments for it; shape: of the input, (N, C, H, W)."""

    def __init__(self, engine, arguments, shape, classes, dtype="float32"):
        self.engine = getattr(engines, engine)(**arguments)
        self.shape, self.classes, self.dtype = shape, classes, dtype
        images, self.labels = batch(shape, classes, dtype)
        self.images = self.engine.take(images)

    def losses(self, steps, learning_rate=None, new_batches=False):
        """The loss before each of `steps` updates, without dropout; with new_batches each step has its own images."""
        self.engine.set_dropout(False)
        if learning_rate is not None:
            _set_rate(self.engine.optimizer, learning_rate)
        found = []
        for i in range(steps):
            images, labels = self.images, self.labels
            if new_batches:
                images, labels = batch(self.shape, self.classes, self.dtype, seed=i)
                images = self.engine.take(images)
            found.append(float(self.engine.step(images, labels)))
        self.engine.set_dropout(True)
        return found

    def logits(self):
        """(N, classes) as an array."""
        return np.array(self.engine.values(self.engine.infer(self.images)))

    def train(self, seconds):
        """Seconds of each training step: forward, loss, backward, update."""
        losses = []
        times = timed(lambda: losses.append(self.engine.step(self.images, self.labels)), self.engine.compilations, seconds,
                      "training step")
        if not np.isfinite(losses).all():
            raise BenchmarkError(f"the loss became {losses[-1]}: arithmetic on such values has another speed")
        return times

    def infer(self, seconds):
        """Seconds of each forward pass of the batch."""
        return timed(lambda: self.engine.infer(self.images), self.engine.compilations, seconds, "inference")

    def warm_up(self, mode, steps):
        """Run what will be timed, compilation included."""
        for _ in range(steps):
            self.engine.step(self.images, self.labels) if mode == "train" else self.engine.infer(self.images)

    def export(self, path):
        """Write the engine's model as an ONNX file."""
        self.engine.export(path, batch(self.shape, self.classes, self.dtype)[0])

    def peak_memory(self):
        """The most bytes this process has had resident so far."""
        return peak_memory()


def peak_memory():
    """VmHWM of this process in bytes."""
    return _status("VmHWM")


def resident_memory():
    """VmRSS of this process in bytes."""
    return _status("VmRSS")


def _status(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def _set_rate(optimizer, rate):
    for group in getattr(optimizer, "param_groups", ()):
        group["lr"] = rate
    optimizer.lr = rate
