"""A training run of a second with everything random in it: shuffling, augmentation, dropout, drop-path, initial weights.

As a script it trains in a folder, going on from the last checkpoint there, and says each batch: python tiny_run.py FOLDER
"""

import sys

import minicnn
from minicnn import data, nn, ops, optim
from minicnn.training import Trainer, load_checkpoint, saved_checkpoints
from minicnn.training.progress import Silent


class TinyNet(nn.Module):
    """Convolution, batch norm, ReLU, itself under drop-path, dropout, linear: x (N, 1, 8, 8) -> logits (N, classes)."""

    def __init__(self, num_classes=10, p=0.2):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.path, self.dropout = nn.DropPath(p), nn.Dropout(p)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
        x = ops.relu(self.bn(self.conv(x)))
        return self.fc(self.dropout(ops.flatten(x + self.path(x))))


class Said(Silent):
    """Prints each batch, for whoever waits for it."""

    def batch(self, trainer):
        print(trainer.epoch, trainer.batch, flush=True)


def loaders(images=120, batch_size=20, workers=1):
    """(train, test) loaders of a few digits, with augmentation."""
    train, test = data.load_digits("train"), data.load_digits("test")
    train, test = data.subset(train, range(images)), data.subset(test, range(50))
    augmented = data.default_transforms(train, (1, 8, 8), train=True)
    plain = data.default_transforms(test, (1, 8, 8), train=False)
    return (data.Loader(train, batch_size, augmented, shuffle=True, seed=3, workers=workers),
            data.Loader(test, 50, plain, workers=0))


def build(folder=None, model=None, lr=0.1, batch_size=20, workers=1, **options):
    """A Trainer of TinyNet that warms up, decays along a cosine and averages its weights."""
    minicnn.seed(5)
    model = TinyNet() if model is None else model
    train, test = loaders(batch_size=batch_size, workers=workers)
    optimizer = optim.SGD(model.parameters(), lr, 0.9, 1e-4, nesterov=True)
    schedule = optim.Cosine(optimizer, 18)
    warmup = optim.WarmUp(optimizer, 4)
    options = {"epochs": 3, "ema_decay": 0.9, "schedule_unit": "iteration", **options}
    return Trainer(model, train, test, optimizer, schedule, warmup=warmup, folder=folder, **options)


if __name__ == "__main__":
    trainer = build(sys.argv[1], checkpoint_every=1, reporter=Said(), recompute_batch_norm=True)
    if found := saved_checkpoints(f"{sys.argv[1]}/checkpoints"):
        trainer.restore(*load_checkpoint(found[-1]))
    trainer.run()
