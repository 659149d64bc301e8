"""Every family learns: its smallest preset tells handwritten digits apart after a few epochs, 95 % of those held out at least.

The networks are the registered ones with all their layers; what is small is the image. Those that take any size get the digits
as they are, 8x8; those that do not get them enlarged to what their layers need, about the smallest size that they take.
"""

from dataclasses import dataclass, field

import pytest

from minicnn import data, models, optim
from minicnn.training import Trainer


@dataclass(frozen=True)
class Lesson:
    """How one preset learns: `side` pixels, a cosine schedule from `lr` after 20 warm-up steps, gradients of norm 1 at most
    where `clip` is set."""

    name: str
    side: int
    epochs: int
    lr: float
    batch: int = 64
    clip: float | None = None
    options: dict = field(default_factory=dict)


# Without batch norm learning is slow to start: small batches make more steps, and dropout, which is for long runs, is off.
NO_DROPOUT = {"dropout": 0.0}
LESSONS = {
    "ResNet": Lesson("resnet20", 8, 5, 0.1),
    "DenseNet": Lesson("densenet_40_12", 8, 3, 0.1),
    "NiN": Lesson("nin_cifar10", 8, 8, 0.05, 16, 1.0, NO_DROPOUT),
}


def learnt(lesson):
    """The share of the held-out digits that the network gets right in the end."""
    train, test = (data.open_dataset("digits", split) for split in ("train", "test"))
    model, shape = models.create(lesson.name, num_classes=10, **lesson.options), (3, lesson.side, lesson.side)
    loader = data.Loader(train, lesson.batch, data.default_transforms(train, shape, train=True), shuffle=True)
    optimizer = optim.SGD(model.parameters(), lesson.lr, 0.9, 1e-4, nesterov=True)
    schedule = optim.Cosine(optimizer, lesson.epochs * len(loader))
    trainer = Trainer(model, loader, data.Loader(test, 100, data.default_transforms(test, shape, train=False)), optimizer,
                      schedule, warmup=optim.WarmUp(optimizer, 20, 0.1), schedule_unit="iteration", epochs=lesson.epochs,
                      clip_norm=lesson.clip)
    return trainer.run()[-1]["test_accuracy"]


@pytest.mark.parametrize("family", [family if family == "ResNet" else pytest.param(family, marks=pytest.mark.slow)
                                    for family in LESSONS])
def test_the_smallest_preset_learns_the_digits(family):
    assert learnt(LESSONS[family]) >= 0.95
