"""The training loop and its options."""

import csv
import io
import json
import os

import numpy as np
import pytest

import minicnn
from minicnn import data, nn, ops, optim
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.training import Trainer, evaluate
from minicnn.training.averaging import WeightAverage, recompute_batch_norm
from minicnn.training.progress import Lines, duration, memory_bytes


class Linear(nn.Module):
    """No batch norm and no dropout: gradients of batches add up exactly."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(ops.flatten(x))


def weights(trainer):
    return {name: array.copy() for name, array in trainer.model.state_dict().items()}


def linear_trainer(tiny, lr=0.05, batch_size=20, model=None, **options):
    minicnn.seed(1)
    model = model or Linear()
    train, test = tiny.loaders(batch_size=batch_size)
    return Trainer(model, train, test, optim.SGD(model.parameters(), lr), epochs=options.pop("epochs", 1), **options)


def test_learns_and_tells(tiny, tmp_path):
    train, test = (data.load_digits(split) for split in ("train", "test"))
    minicnn.seed(0)
    model = tiny.TinyNet(p=0.0)
    loaders = [data.Loader(part, 64, data.default_transforms(part, (1, 8, 8), train=False), shuffle=shuffle, workers=0)
               for part, shuffle in ((train, True), (test, False))]
    optimizer = optim.SGD(model.parameters(), 0.1, 0.9)
    trainer = Trainer(model, *loaders, optimizer, optim.MultiStep(optimizer, [3]), epochs=4, folder=tmp_path)
    history = trainer.run()
    assert history[-1]["test_accuracy"] > 0.9
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert [row["lr"] for row in history] == pytest.approx([0.1, 0.1, 0.1, 0.01])
    assert list(history[0]) == ["epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr",
                                "images_per_second", "seconds"]
    assert trainer.run() == history, "a finished run does nothing more"


def test_metrics_files_have_a_row_an_epoch(tiny, tmp_path):
    trainer = tiny.build(tmp_path, epochs=2)
    history = trainer.run()
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == history
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history


def test_metrics_that_are_not_finite_are_null_in_json(tmp_path):
    from minicnn.training.metrics import write_metrics
    write_metrics(tmp_path, [{"epoch": 1, "test_loss": float("nan")}])
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"epoch": 1, "test_loss": None}
    write_metrics(tmp_path / "nowhere", [])


def test_accumulated_gradients_are_those_of_the_large_batch(tiny):
    """Also for an epoch whose last batch is smaller: 120 images in batches of 50, 50, 20."""
    whole = linear_trainer(tiny, batch_size=120)
    parts = linear_trainer(tiny, batch_size=50, accumulate=3)
    for trainer in (whole, parts):
        trainer.run()
    for name, array in weights(whole).items():
        np.testing.assert_allclose(weights(parts)[name], array, rtol=1e-5, atol=1e-7)
    assert parts.history[0]["train_loss"] == pytest.approx(whole.history[0]["train_loss"], rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_clipping_bounds_the_step(tiny, accumulate):
    trainer = linear_trainer(tiny, lr=1.0, batch_size=40, clip_norm=0.01, accumulate=accumulate)
    before = weights(trainer)
    trainer.run()
    updates = 3 // accumulate
    moved = np.sqrt(sum(np.square(array - before[name]).sum() for name, array in weights(trainer).items()))
    assert 0.3 * 0.01 < moved <= updates * 0.01 * 1.001


def test_label_smoothing_reaches_the_loss(tiny):
    plain, smooth = (linear_trainer(tiny, lr=0.0, batch_size=120, label_smoothing=s).run()[0] for s in (0.0, 0.3))
    assert smooth["train_loss"] != plain["train_loss"]
    assert smooth["test_loss"] == plain["test_loss"], "tests are scored without smoothing"


def test_a_models_own_loss_is_used(tiny):
    class Doubled(Linear):
        def forward(self, x):
            logits = super().forward(x)
            return logits, logits

        def loss(self, output, labels, label_smoothing=0.0):
            return ops.cross_entropy(output[0], labels, label_smoothing) + ops.cross_entropy(output[1], labels)
    doubled = linear_trainer(tiny, lr=0.0, model=Doubled())
    minicnn.seed(1)
    assert doubled.run()[0]["train_loss"] > 2
    assert 0 <= doubled.history[0]["test_accuracy"] <= 1


def test_warm_up_multiplies_the_schedule(tiny):
    trainer = tiny.build(epochs=3)      # six updates an epoch
    rates = []
    trainer.reporter.batch = lambda t: rates.append(t._rate)
    trainer.run()
    cosine = [0.1 * 0.5 * (1 + np.cos(np.pi * i / 18)) for i in range(18)]
    factor = [0.1 + 0.9 * min(1, i / 4) for i in range(18)]
    assert rates == pytest.approx([c * f for c, f in zip(cosine, factor)])


def test_plateau_watches_the_validation_images(tiny):
    model = Linear()
    train, test = tiny.loaders()
    optimizer = optim.SGD(model.parameters(), 0.05)
    schedule = optim.Plateau(optimizer, patience=0, mode="max")
    watched = []
    schedule.step = lambda metric=None: watched.append(metric)
    validation = data.Loader(test.dataset, 50, test.transform, workers=0)
    history = Trainer(model, train, test, optimizer, schedule, validation_loader=validation, epochs=2).run()
    assert watched == [row["validation_accuracy"] for row in history]


def test_without_test_images(tiny):
    model = Linear()
    train, _ = tiny.loaders()
    history = Trainer(model, train, None, optim.SGD(model.parameters(), 0.05), epochs=1).run()
    assert "test_loss" not in history[0]


def test_limit_batches_ends_the_epoch(tiny):
    trainer = tiny.build(epochs=2, limit_batches=2)
    seen = []
    trainer.reporter.batch = lambda t: seen.append((t.epoch, t.batch))
    trainer.run()
    assert seen == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_float64_models_train_in_float64(tiny):
    trainer = linear_trainer(tiny, model=Linear().astype("float64"))
    trainer.run()
    assert trainer.model.fc.weight.data.dtype == np.float64


def test_average_follows_its_formula(tiny):
    model = Linear()
    average = WeightAverage(model, 0.5)
    model.fc.bias.data[...] = 1.0
    average.update()                # decay (1+1)/(10+1)
    np.testing.assert_allclose(average.arrays["fc.bias"], 1 - 2 / 11, rtol=1e-6)
    for _ in range(20):
        average.update()
    assert 0.999 < average.arrays["fc.bias"][0] <= 1
    with average.applied():
        assert (model.fc.bias.data == average.arrays["fc.bias"]).all()
    assert (model.fc.bias.data == 1).all()
    with pytest.raises(ArgumentError, match=r"ema_decay 1.5 is not between 0 and 1"):
        WeightAverage(model, 1.5)


def test_the_averaged_weights_are_tested_and_kept(tiny):
    trainer = tiny.build(epochs=1)
    trainer.run()
    assert trainer.history[0]["test_loss"] == evaluate(trainer.model, trainer.test_loader).loss


def test_batch_norm_statistics_become_those_of_all_batches(tiny):
    minicnn.seed(0)
    model = tiny.TinyNet(p=0.9)
    batches = [(np.random.default_rng(i).normal(i, 2, (5, 1, 8, 8)), None) for i in range(3)]
    recompute_batch_norm(model, batches)
    outputs = [ops.conv2d(minicnn.Tensor(x.astype(np.float32)), model.conv.weight, stride=2, padding=1).data
               for x, _ in batches]
    mean = np.mean([y.mean(axis=(0, 2, 3)) for y in outputs], axis=0)
    var = np.mean([y.var(axis=(0, 2, 3), ddof=1) for y in outputs], axis=0)
    np.testing.assert_allclose(model.bn.running_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(model.bn.running_var, var, rtol=1e-4)
    assert (model.bn.momentum, model.training, model.bn.training) == (0.1, False, False)
    recompute_batch_norm(Linear(), iter(batches))       # nothing to do


@pytest.mark.parametrize(("options", "message"), [
    ({"epochs": 0}, "epochs 0 is less than 1"), ({"epochs": 1, "accumulate": 0}, "accumulate 0 is less than 1"),
    ({"epochs": 1, "limit_batches": -1}, "limit_batches -1 is less than 1"),
    ({"epochs": 1, "clip_norm": 0.0}, "clip_norm 0.0 is not above 0"),
    ({"epochs": 1, "schedule_unit": "step"}, "schedule_unit 'step'; choose 'epoch' or 'iteration'")])
def test_options_outside_their_range(options, message):
    model = Linear()
    with pytest.raises(ArgumentError, match=message):
        Trainer(model, None, None, optim.SGD(model.parameters(), 0.1), **options)


def test_a_full_disk_stops_with_the_last_checkpoint_whole(tiny, tmp_path, monkeypatch):
    trainer = tiny.build(tmp_path, epochs=2)
    real, calls = os.fsync, []

    def full_later(descriptor):
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        real(descriptor)
    monkeypatch.setattr(os, "fsync", full_later)
    with pytest.raises(CheckpointError, match="No space left on device"):
        trainer.run()
    monkeypatch.undo()
    from minicnn.training import load_checkpoint, saved_checkpoints
    assert load_checkpoint(saved_checkpoints(tmp_path / "checkpoints")[-1])[1]["epoch"] == 1


def test_lines_say_what_happens(tiny):
    stream = io.StringIO()
    tiny.build(epochs=2, reporter=Lines(stream)).run()
    first, second = stream.getvalue().splitlines()
    assert first.startswith("epoch 1/2: train ")
    for word in (" test ", "lr 0.", "images/s", " left", "MiB"):
        assert word in first
    assert second.startswith("epoch 2/2")


def test_the_live_line_works_on_a_terminal(tiny):
    from rich.console import Console

    from minicnn.training.progress import Live
    stream = io.StringIO()
    tiny.build(epochs=1, reporter=Live(Console(file=stream, force_terminal=True, width=100))).run()
    assert "epoch 1/1: train" in stream.getvalue()


def test_durations_and_memory():
    assert [duration(seconds) for seconds in (7.4, 62, 3723)] == ["0:07", "1:02", "1:02:03"]
    assert memory_bytes() > 10 * 2**20
