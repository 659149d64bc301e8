"""The training loop.

    trainer = Trainer(model, train_loader, test_loader, optimizer, schedule, epochs=10)
    history = trainer.run()

The whole state of a run is its weights, velocities, schedule, random count and position (epoch, batch): `state` gives it
and `restore` takes it, and training then goes on bit for bit, because the loader's order and augmentation depend on seed,
epoch and image alone, and every other random draw on minicnn.random's seed and count.
"""

import contextlib
import itertools
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernels import device
from minicnn import ops, random
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError, CheckpointError, MinicnnError, TrainingError
from minicnn.io import save_weights
from minicnn.optim import Constant
from minicnn.training.averaging import WeightAverage, recompute_batch_norm
from minicnn.training.batches import prepared
from minicnn.training.checkpoint import CheckpointFolder, sweep
from minicnn.training.diagnosis import first_bad_value
from minicnn.training.evaluate import evaluate, first_output
from minicnn.training.metrics import write_metrics
from minicnn.training.progress import Silent


@dataclass
class Options:
    """How the loop runs. Raises ArgumentError for a value outside its range.

    schedule_unit: the schedule counts "epoch"s or "iteration"s (updates of the weights). accumulate: batches whose
    gradients are averaged into one update. clip_norm: the largest L2 norm of all gradients together (Pascanu et al.
    2013). ema_decay: test with, and keep, an exponential moving average of the weights; the figures of the present weights,
    not averaged, stand beside it as present_test_…. recompute_batch_norm: compute the running statistics anew when training
    is done. limit_batches: end each epoch, and each test, after so many.
    """

    epochs: int
    schedule_unit: str = "epoch"
    label_smoothing: float = 0.0
    accumulate: int = 1
    clip_norm: float | None = None
    ema_decay: float | None = None
    recompute_batch_norm: bool = False
    limit_batches: int | None = None

    def __post_init__(self):
        for name in ("epochs", "accumulate", "limit_batches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"training: {name} {value} is less than 1; pass 1 or more")
        if self.schedule_unit not in ("epoch", "iteration"):
            raise ArgumentError(f"training: schedule_unit {self.schedule_unit!r}; choose 'epoch' or 'iteration'")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ArgumentError(f"training: clip_norm {self.clip_norm} is not above 0; leave it out not to clip")


class Trainer:
    """Trains a model on train_loader and tests it on test_loader after every epoch.

    schedule: one of minicnn.optim's, or None for a constant rate. warmup: an optim.WarmUp made after the schedule; its
    factor multiplies the schedule's at each update. validation_loader: what a Plateau schedule watches in the place of
    test_loader. The loss is model.loss(output, labels, label_smoothing) where the model has one, else cross-entropy.
    Files go to `folder` if it is given: checkpoints/ after every epoch (and every `checkpoint_every` batches), of which
    the last `keep` stay, metrics.csv and metrics.jsonl, and in the end weights.safetensors. configuration: a dict that
    the checkpoints carry along.
    reporter: see minicnn.training.progress. **options: see Options.
    """

    def __init__(self, model, train_loader, test_loader, optimizer, schedule=None, *, warmup=None,
                 validation_loader=None, folder=None, keep=3, checkpoint_every=None, configuration=None, reporter=None,
                 **options):
        self.options = Options(**options)
        self.model, self.optimizer, self.warmup = model, optimizer, warmup
        self.train_loader, self.test_loader, self.validation_loader = train_loader, test_loader, validation_loader
        self.schedule = schedule or Constant(optimizer)
        self.configuration, self.reporter = configuration or {}, reporter or Silent()
        self.folder = None if folder is None else Path(folder)
        self.checkpoints = None if folder is None else CheckpointFolder(self.folder / "checkpoints", keep)
        self.checkpoint_every, self._unsaved = checkpoint_every, 0
        decay = self.options.ema_decay
        self.average = None if decay is None else WeightAverage(model, decay)
        self.epoch, self.batch, self.history = 0, 0, []
        self.totals = _no_totals()
        self._gathered = 0      # images whose gradients wait for an update
        self._rate = optimizer.lr       # of the last update

    @property
    def batches_per_epoch(self):
        """Batches of an epoch, within limit_batches."""
        return min(len(self.train_loader), self.options.limit_batches or len(self.train_loader))

    def run(self):
        """Train from where the trainer stands to the last epoch; returns history, a list with one dict an epoch.

        Raises TrainingError for a loss or gradient that is not finite, CheckpointError where a file cannot be written.
        An exception, KeyboardInterrupt too, leaves the checkpoints written so far.
        """
        with self.checkpoints.alone() if self.folder else contextlib.nullcontext():
            if self.folder:
                sweep(self.folder)
            self.reporter.begin(self)
            try:
                while self.epoch < self.options.epochs:
                    self._run_epoch()
            finally:
                self.reporter.end()
            if self.folder:
                metadata = {"configuration": json.dumps(self.configuration)}
                weights = {name: np.asarray(array) for name, array in self.model.state_dict().items()}
                save_weights(self.folder / "weights.safetensors", weights, metadata)
        return self.history

    def _run_epoch(self):
        self.model.train()
        self.train_loader.epoch = self.epoch
        self._set_rate()
        last, start = self.batches_per_epoch, time.perf_counter()
        with contextlib.closing(self.train_loader.batches(self.batch)) as batches:
            for images, labels in prepared(itertools.islice(batches, last - self.batch), self.model):
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):     # _learn looks for itself
                    self._learn(images, labels)
                    update = self.batch % self.options.accumulate == 0 or self.batch == last
                    if update:
                        self._update()
                self.totals["seconds"] += time.perf_counter() - start
                if update and self.checkpoint_every and self._unsaved >= self.checkpoint_every and self.batch < last:
                    self.save()
                self.reporter.batch(self)
                start = time.perf_counter()
        self._end_epoch()

    def _learn(self, images, labels):
        """Forward and backward pass of one batch: adds to the gradients and to the epoch's totals."""
        random_state = random.get_state()
        output, loss = self._forward(images, labels)
        value = loss.item()
        if not math.isfinite(value):
            self._stop(f"the loss became {value}", images, labels, random_state)
        # Gradients of mean losses are added up times their number of images; _update divides by the sum of these.
        loss.backward(np.asarray(len(labels), loss.dtype) if self.options.accumulate > 1 else None)
        if not math.isfinite(self._gradient_norm()):
            self._stop("a gradient is not finite", images, labels, random_state)
        right = int((np.asarray(first_output(output).data).argmax(axis=1) == labels).sum())
        self._gathered += len(labels)
        self.batch, self._unsaved = self.batch + 1, self._unsaved + 1
        for name, amount in (("loss", value * len(labels)), ("correct", right), ("images", len(labels))):
            self.totals[name] += amount

    def _forward(self, images, labels):
        output = self.model(Tensor(images))
        if hasattr(self.model, "loss"):
            return output, self.model.loss(output, labels, label_smoothing=self.options.label_smoothing)
        return output, ops.cross_entropy(output, labels, self.options.label_smoothing)

    def _stop(self, what, images, labels, random_state):
        random.set_state(random_state)
        self.model.zero_grad()
        where = first_bad_value(self.model, lambda: self._forward(images, labels)[1], images)
        raise TrainingError(f"{what} in epoch {self.epoch + 1}, batch {self.batch + 1}: {where}; choose a learning rate "
                            f"below {self.optimizer.lr:.3g}, clip the gradients (clip_norm) or warm up")

    def _gradient_norm(self):
        """The L2 norm of all gradients together."""
        gradients = [p.grad for p in self.optimizer.parameters if p.grad is not None]
        if gradients and device.is_on_device(gradients[0]):
            return device.norm(gradients)
        gradients = [g.reshape(-1) for g in gradients]
        total = sum(float(g @ g) for g in gradients)
        if not math.isfinite(total):        # squares of large float32 numbers overflow
            total = sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients)
        return math.sqrt(total)

    def _update(self):
        """One step of the optimiser with the gradients gathered since the last."""
        factor = 1 / self._gathered if self.options.accumulate > 1 else 1.0
        if self.options.clip_norm:
            factor *= min(1.0, self.options.clip_norm / (self._gradient_norm() * factor + 1e-6))
        if factor != 1:
            for parameter in self.optimizer.parameters:
                if parameter.grad is not None:
                    parameter.grad = parameter.grad * factor
        self._rate = self.optimizer.lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._gathered = 0
        if self.average:
            self.average.update()
        if self.options.schedule_unit == "iteration":
            self.schedule.step()
        if self.warmup:
            self.warmup.step()
        self._set_rate()

    def _set_rate(self):
        if self.warmup:
            self.optimizer.lr = self.schedule.base * self.schedule.rate() * self.warmup.rate()

    def _end_epoch(self):
        seconds = self.totals["seconds"]
        present = self._test_figures("present_") if self.average else {}
        if self.epoch + 1 == self.options.epochs:
            self._finish_weights()
        with self.average.applied() if self.average else contextlib.nullcontext():
            tested = self._test_figures()
        row = {"epoch": self.epoch + 1, **self._training_figures(), **tested, **present, "lr": self._rate,
               "images_per_second": round(self.totals["images"] / max(seconds, 1e-9), 1), "seconds": round(seconds, 3)}
        if self.options.schedule_unit == "epoch":
            self.schedule.step(self._watched(row))
        self.history.append(row)
        self.epoch, self.batch, self.totals = self.epoch + 1, 0, _no_totals()
        if self.folder:
            self.save()
            write_metrics(self.folder, self.history)
        self.reporter.epoch(self, row)

    def _finish_weights(self):
        """What the options want done when training is over: the averaged weights for good, new batch norm statistics."""
        if self.average:
            self.model.load_state_dict(self.average.arrays)
        if self.options.recompute_batch_norm:
            self.train_loader.epoch = self.options.epochs
            recompute_batch_norm(self.model, itertools.islice(self.train_loader, self.batches_per_epoch))
        if self.average:
            self.average.arrays = {name: array.copy() for name, array in self.model.state_dict().items()}

    def _training_figures(self):
        images = self.totals["images"]
        return {"train_loss": self.totals["loss"] / images, "train_accuracy": self.totals["correct"] / images}

    def _test_figures(self, prefix=""):
        figures = {}
        for name, loader in (("validation", self.validation_loader), ("test", self.test_loader)):
            if loader is not None:
                score = evaluate(self.model, loader, limit_batches=self.options.limit_batches)
                figures |= {f"{prefix}{name}_loss": score.loss, f"{prefix}{name}_accuracy": score.accuracy}
        return figures

    def _watched(self, row):
        """What a Plateau schedule goes by: accuracy or loss, on the validation images or else the test images."""
        kind = "accuracy" if getattr(self.schedule, "mode", "min") == "max" else "loss"
        names = [f"{name}_{kind}" for name in ("validation", "test", "train") if f"{name}_{kind}" in row]
        return row[names[0]]

    def save(self):
        """Write a checkpoint of this moment; returns its path."""
        self._unsaved = 0
        return self.checkpoints.save(self.epoch, self.batch, *self.state())

    def state(self):
        """(arrays, state): everything that `restore` goes on from; the arrays are the trainer's own."""
        arrays = {f"model/{name}": np.asarray(array) for name, array in self.model.state_dict().items()}
        optimizer = self.optimizer.state_dict()
        velocities = optimizer.pop("velocities")
        arrays |= {f"velocity/{i}": np.asarray(v) for i, v in enumerate(velocities) if v is not None}
        if self.average:
            arrays |= {f"average/{name}": np.asarray(array) for name, array in self.average.arrays.items()}
        return arrays, {
            "epoch": self.epoch, "batch": self.batch, "totals": self.totals, "history": self.history,
            "optimizer": optimizer, "schedule": self.schedule.state_dict(),
            "warmup": self.warmup.state_dict() if self.warmup else None,
            "average_steps": self.average.steps if self.average else None,
            "random": random.get_state(), "configuration": self.configuration}

    def restore(self, arrays, state):
        """Go on from what `state` returned, or load_checkpoint. Raises CheckpointError if it is of another training."""
        try:
            self._restore(arrays, state)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, MinicnnError):
                raise
            raise CheckpointError(f"checkpoint: does not fit this training ({type(error).__name__}: {error}); resume with "
                                  "the model, optimiser and options it was made with") from error

    def _restore(self, arrays, state):
        _check_position(state, self.batches_per_epoch)
        self.model.load_state_dict(_under("model/", arrays))
        velocities = [arrays.get(f"velocity/{i}") for i in range(len(self.optimizer.parameters))]
        self.optimizer.load_state_dict({**state["optimizer"], "velocities": velocities})
        self.schedule.load_state_dict(state["schedule"])
        if self.warmup:
            self.warmup.load_state_dict(state["warmup"])
        if self.average:
            for name, array in _under("average/", arrays).items():
                self.average.arrays[name][...] = array
            self.average.steps = state["average_steps"]
        random.set_state(state["random"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.totals, self.history = dict(state["totals"]), list(state["history"])
        self.optimizer.lr = state["optimizer"]["lr"]
        if self.folder:
            write_metrics(self.folder, self.history)


def _check_position(state, batches):
    """Raise ValueError unless epoch, batch, totals and history are what a trainer of so many batches an epoch can have."""
    position, totals = (state["epoch"], state["batch"]), state["totals"]
    if not all(type(number) is int and number >= 0 for number in position) or position[1] > batches:
        raise ValueError(f"epoch and batch are {position}")
    if totals.keys() != _no_totals().keys() or not all(type(number) in (int, float) for number in totals.values()):
        raise ValueError("its totals are not those of an epoch")
    if not all(row.keys() == state["history"][0].keys() for row in state["history"]):
        raise ValueError("the rows of its history are not alike")


def _under(prefix, arrays):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _no_totals():
    return {"loss": 0.0, "correct": 0, "images": 0, "seconds": 0.0}
