"""One network, looked at from all sides: the work behind `minicnn study`."""

import datetime
import time
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np

import minicnn
from minicnn import data, models
from minicnn.study import images, machine
from minicnn.study.bench import bench
from minicnn.study.heaviest import heaviest_shapes
from minicnn.study.layer_checks import SECONDS, check_layers
from minicnn.study.look import Look, look
from minicnn.study.summary import Summary, summary
from minicnn.study.timing import time_layers
from minicnn.training import recipes
from minicnn.training.evaluate import probabilities
from minicnn.training.trainer import Trainer

PARTS = ("summary", "gradients", "timing", "training", "kernels", "look")


@dataclass(frozen=True)
class Example:
    """A test image (H, W, C) of uint8, its class, and what the network takes it for with which probability."""

    image: np.ndarray
    label: str
    guess: str
    probability: float


@dataclass
class Study:
    """What was found out about one network; parts that were left out are empty.

    checks: LayerChecks; times: LayerTimes of `batch` images; history: one dict an epoch; examples: Examples; kernels:
    BenchResults; subject, look: an image and its way through the network; seconds: how long each part took; settings: how it
    was trained, (name, text) pairs; again: the command that makes the page.
    """

    name: str
    summary: Summary
    batch: int
    data: str
    classes: tuple = ()
    info: models.ModelInfo | None = None
    checks: list = field(default_factory=list)
    times: list = field(default_factory=list)
    history: list = field(default_factory=list)
    examples: list = field(default_factory=list)
    kernels: list = field(default_factory=list)
    settings: list = field(default_factory=list)
    seconds: dict = field(default_factory=dict)
    subject: images.Subject | None = None
    look: Look | None = None
    machine: str = ""
    date: str = ""
    again: str = ""

    @property
    def right(self):
        """True unless a gradient or a kernel was found wrong."""
        return all(check.passed for check in self.checks) and all(self.kernels)

    def as_dict(self):
        """For JSON."""
        return {"model": self.name, "date": self.date, "machine": self.machine, "data": self.data, "batch": self.batch,
                "right": self.right, "seconds": self.seconds, "settings": dict(self.settings),
                "summary": self.summary.as_dict(), "gradients": [check.as_dict() for check in self.checks],
                "times": [asdict(layer) for layer in self.times], "training": self.history,
                "kernels": [result.as_dict() for result in self.kernels]}


def study_model(model, input_shape, dataset="digits", name=None, epochs=None, batch=32, quick=False, reporter=None,
                listener=None, subject=None, index=0, target=None):
    """Summarise, gradient-check, time and train a network, time its kernels and look at one image in it -> Study.

    dataset: what data.open_dataset takes; the model ends up trained on it. None: it stays as it is. epochs: of minicnn's
    default recipe for the data (default: its own number). batch: images when timing. quick: one epoch of a few batches and
    short timings, to see that all works. reporter: of the training, see minicnn.training.progress. listener: an object with
    begin(part), step(part, done, of, note) and end(part, study). subject: the study.images.Subject to look at (default: test
    image `index`; without data nothing is looked at). target: the number of the class to look at (default: the subject's).
    Raises what the parts raise, DataError for the data set first of all.
    """
    listener = listener or Listener()
    sets = {split: data.open_dataset(dataset, split) for split in ("train", "test")} if dataset is not None else {}
    info = models.info(name) if name in models.names() else None
    study = Study(name or type(model).__name__, summary(model, input_shape, name=name), batch,
                  "" if dataset is None else str(dataset), tuple(sets["train"].classes) if sets else (), info,
                  machine=machine.running(), date=datetime.datetime.now().astimezone().isoformat(" ", "minutes"))
    work = {
        "summary": lambda step: None,
        "gradients": lambda step: _gradients(study, model, input_shape, quick, step),
        "timing": lambda step: _timing(study, model, input_shape, quick, step),
        "training": lambda step: _train(study, model, input_shape, sets, epochs, quick, reporter, index),
        "kernels": lambda step: _kernels(study, model, input_shape, quick, step),
        "look": lambda step: _look(study, model, subject or study.subject, target, step),
    }
    for part in PARTS:
        if (part == "training" and not sets) or (part == "look" and not sets and subject is None):
            continue
        listener.begin(part)
        start = time.perf_counter()
        work[part](lambda done, of, note="", part=part: listener.step(part, done, of, note))
        study.seconds[part] = time.perf_counter() - start
        listener.end(part, study)
    return study


class Listener:
    """Hears how a study goes on, and says nothing."""

    def begin(self, part):
        """A part starts."""

    def step(self, part, done, of, note):
        """`done` of `of` steps of a part are done."""

    def end(self, part, study):
        """A part is over and its result in `study`."""


def _gradients(study, model, input_shape, quick, step):
    study.checks = check_layers(model, input_shape, seconds=0.05 if quick else SECONDS,
                                progress=lambda done, of, check: step(done, of, f"{check.operation} {check.path}"))


def _timing(study, model, input_shape, quick, step):
    study.times = time_layers(model, input_shape, study.batch, 1 if quick else 5, progress=step)


def _train(study, model, input_shape, sets, epochs, quick, reporter, index):
    minicnn.seed(0)
    train, test = sets["train"], sets["test"]
    recipe = recipes.default_recipe(model, len(train), input_shape)
    recipe = recipes.changed(recipe, epochs=1 if quick else epochs)
    loaders = (
        data.Loader(train, recipe.batch_size, recipes.train_transform(recipe, train, input_shape), shuffle=True, seed=0),
        data.Loader(test, 128, recipes.test_transform(recipe, test, input_shape, train)))
    optimizer = recipes.build_optimizer(recipe, model)
    schedule, unit, warmup = recipes.build_schedule(recipe, optimizer, len(loaders[0]))
    trainer = Trainer(model, *loaders, optimizer, schedule, warmup=warmup, reporter=reporter, epochs=recipe.epochs,
                      schedule_unit=unit, limit_batches=2 if quick else None)
    study.settings = [("data", f"{train.name}: {len(train):,} images to train, {len(test):,} to test"),
                      *recipes.describe(recipe)]
    study.history = trainer.run()
    study.examples = _examples(model, test, loaders[1], study.classes)
    study.subject = images.of_dataset(test, loaders[1].transform, input_shape, index)


def _examples(model, dataset, loader, classes, most=16):
    """The first test images, before them those of the first batch that the network takes for something else."""
    batch, labels = next(iter(loader))
    model.eval()
    p = probabilities(model, batch)
    guesses = p.argmax(axis=1)
    chosen = sorted(range(len(labels)), key=lambda i: (guesses[i] == labels[i], i))[:most]
    return [Example(np.asarray(dataset.image(i)), str(classes[labels[i]]), str(classes[guesses[i]]), float(p[i].max()))
            for i in chosen]


def _kernels(study, model, input_shape, quick, step):
    chosen = heaviest_shapes(model, input_shape, study.batch)
    for i, (room, options) in enumerate(chosen.items()):
        study.kernels += bench(room, seconds=0.02 if quick else 0.25, progress=partial(step, i, len(chosen)), **options)
    step(len(chosen), len(chosen))


def _look(study, model, subject, target, step):
    target = subject.target if target is None else target
    study.look = look(model, subject.x, subject.picture, subject.names, target, subject.others, progress=step)
    study.look.label = subject.label
