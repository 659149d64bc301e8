"""minicnn train and minicnn eval, end to end with a network of three layers in the registry."""

import json
from pathlib import Path

import numpy as np
import pytest

from minicnn import data, models, nn, ops
from minicnn.cli import main
from minicnn.io import save_weights
from minicnn.models import registry
from minicnn.models.recipe import Recipe
from minicnn.training.evaluate import probabilities
from minicnn.training.progress import Silent

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


class Tiny(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(128, num_classes)

    def forward(self, x):
        return self.fc(ops.flatten(self.pool(ops.relu(self.bn(self.conv(x))))))


PAPER = Recipe(source="nobody 2026, table 1", batch_size=100, epochs=8, lr=0.05, weight_decay=1e-4, schedule="multistep",
               schedule_args={"milestones": [4, 6]}, augmentation=(("pad_crop", 1), ("flip",)), notes="only a test")


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """The model "tiny_test" while a test runs, in an empty folder."""
    info = registry.ModelInfo("tiny_test", "nobody 2026", 2026, 2, 1380, 5000, (1, 8, 8), 8, recipes={"paper": PAPER})
    monkeypatch.setitem(registry._infos, "tiny_test", info)
    monkeypatch.setitem(registry._builders, "tiny_test", (Tiny, {}))
    monkeypatch.chdir(tmp_path)


def train(*args):
    return main(["train", "tiny_test", "--data", "digits", *args])


def rows():
    return [json.loads(line) for line in Path("runs/tiny_test-digits/metrics.jsonl").read_text().splitlines()]


def test_train_then_eval(capsys):
    assert train("--epochs", "3") == 0
    out = capsys.readouterr().out
    assert "1,380 parameters" not in out.splitlines()[0], "counted, not copied from the registry"
    assert "1,437 images to train, 360 to test, 10 classes" in out
    assert "epoch 3/3: train" in out
    command = out.splitlines()[-1].strip()
    assert command == "minicnn eval tiny_test --weights runs/tiny_test-digits/weights.safetensors --data digits"
    assert rows()[-1]["test_accuracy"] > 0.9
    right = round(rows()[-1]["test_accuracy"] * 360)
    assert main([*command.split()[1:], "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert (score["top1"], score["n"]) == (right, 360)
    assert score["top5"] >= score["top1"]
    assert main(command.split()[1:]) == 0
    assert f"top-1  {right} of 360 right" in capsys.readouterr().out


def test_files_know_their_model_and_ensembles_vote(capsys):
    for seed in "01":
        assert train("--epochs", "1", "--seed", seed, "--limit-batches", "10") == 0
    capsys.readouterr()
    files = ["runs/tiny_test-digits/weights.safetensors", "runs/tiny_test-digits-2/checkpoints/epoch-0001.safetensors"]
    assert main(["eval", "--data", "digits", "--ensemble", *files, "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["weights"] == files
    losses = []
    for file in files:
        assert main(["eval", "--data", "digits", "--weights", file, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert both["loss"] < np.mean(losses), "the mean of softmax outputs loses less than the mean (Jensen)"


@pytest.mark.parametrize("crops", ["10", "144"])
def test_crops(capsys, crops):
    assert train("--epochs", "1", "--limit-batches", "5", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert main(["eval", "--weights", result["weights"], "--crops", crops, "--limit-batches", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["crops"] == crops


@pytest.mark.parametrize(("crops", "sides"), [("dense", [37]), ("multiscale", [37, 55, 73])])
def test_whole_images(capsys, crops, sides):
    """Dense evaluation takes whole images, a seventh larger than the network's; several scales are averaged."""
    model = models.create("resnet20")
    save_weights("whole.safetensors", model.state_dict())
    assert main(["eval", "resnet20", "--weights", "whole.safetensors", "--preprocessing", "data", "--crops", crops,
                 "--limit-batches", "3", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    digits = data.open_dataset("digits", "test")
    losses = []
    for i in range(3):
        views = [data.transforms.Compose([data.transforms.GrayToRGB(), data.transforms.Resize(side),
                                          data.transforms.Normalize(digits.mean, digits.std)])(digits.image(i))
                 for side in sides]
        p = np.mean([probabilities(model.eval(), view[None])[0] for view in views], axis=0)
        losses.append(-np.log(p[digits.label(i)]))
    assert (score["n"], score["crops"]) == (3, crops)
    assert score["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_interrupted_then_resumed_gives_the_same_weights(capsys, monkeypatch):
    options = ["--epochs", "2", "--limit-batches", "6", "--checkpoint-every", "2", "--batch-size", "32"]
    assert train(*options, "--out", "runs/whole") == 0

    def press_ctrl_c(self, trainer):
        if (trainer.epoch, trainer.batch) == (1, 3):
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr("minicnn.training.progress.Lines.batch", press_ctrl_c)
        patch.setattr("minicnn.training.progress.Lines.epoch", Silent.epoch)
        assert train(*options) == 130
    error = capsys.readouterr().err
    assert "interrupted; runs/tiny_test-digits/checkpoints/epoch-0001-batch-000002.safetensors is kept" in error
    command = error.splitlines()[-1].split()
    assert command == ["minicnn", "train", "tiny_test", "--data", "digits", "--out", "runs/tiny_test-digits", "--resume"]
    assert main(command[1:]) == 0
    assert "after epoch 1, batch 2" in capsys.readouterr().out
    whole, broken = (Path(f"runs/{run}/weights.safetensors").read_bytes() for run in ("whole", "tiny_test-digits"))
    assert whole == broken
    assert main([*command[1:], "--json"]) == 0
    assert "all 2 epochs are done" in capsys.readouterr().err


def test_interrupted_before_any_checkpoint(capsys, monkeypatch):
    def press_ctrl_c(self, trainer):
        raise KeyboardInterrupt
    monkeypatch.setattr("minicnn.training.progress.Lines.batch", press_ctrl_c)
    assert train("--limit-batches", "1") == 130
    assert "--checkpoint-every N writes one" in capsys.readouterr().err


def test_resume_takes_the_latest_run_and_refuses_another(capsys):
    train("--epochs", "1", "--limit-batches", "1")
    train("--epochs", "1", "--limit-batches", "1", "--lr", "0.05")
    capsys.readouterr()
    assert train("--resume") == 0
    assert "runs/tiny_test-digits-2: all 1 epochs are done" in capsys.readouterr().out
    assert train("--resume", "--lr", "0.2") == 2
    assert "--resume goes on with lr 0.05, not 0.2; leave the option out" in capsys.readouterr().err
    assert train("--out", "runs/tiny_test-digits") == 2
    assert "has the checkpoints of a run; add --resume" in capsys.readouterr().err


def test_dry_run_prints_the_recipe(capsys):
    assert train("--recipe", "paper", "--dry-run", "--epochs", "4") == 0
    out = capsys.readouterr().out
    for text in ("nobody 2026, table 1", "milestones [2, 3]", "pad_crop 1; flip", "batch size       100", "only a test"):
        assert text in out
    assert train("--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["nesterov"] is True
    assert not Path("runs").exists()


def test_a_papers_recipe_needs_no_data(capsys):
    assert train("--data", "data/cifar10", "--recipe", "paper", "--dry-run") == 0
    assert "nobody 2026, table 1" in capsys.readouterr().out
    assert train("--data", "data/cifar10", "--dry-run") == 2
    assert "run `minicnn data get cifar10`, then" in capsys.readouterr().err


def test_every_option_together(capsys):
    assert train("--recipe", "paper", "--epochs", "1", "--limit-batches", "4", "--schedule", "plateau", "--validation", "0.2",
                 "--accumulate", "2", "--clip-norm", "1", "--ema-decay", "0.9", "--recompute-batch-norm", "--lr", "0.02",
                 "--label-smoothing", "0.1", "--momentum", "0", "--weight-decay", "0", "--threads", "1", "--workers", "2",
                 "--keep", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["validation_accuracy"] <= 1
    assert found["lr"] == 0.02


def test_a_loss_that_is_not_finite_ends_in_one_line(capsys):
    assert train("--lr", "1e30", "--epochs", "3") == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "choose a learning rate below" in error


def weights_for(classes):
    model = Tiny(classes)
    save_weights("other.safetensors", model.state_dict())
    return "other.safetensors"


@pytest.mark.parametrize(("args", "message"), [
    (["train", "tiny_tset"], "there is no model 'tiny_tset'; did you mean tiny_test"),
    (["train", "tiny_test", "--data", "nowhere"], "nowhere: there is no such file or folder"),
    (["train", "tiny_test", "--epochs", "0"], "epochs 0 is less than 1"),
    (["train", "tiny_test", "--batch-size", "0"], "batch_size 0 is less than 1"),
    (["train", "tiny_test", "--recipe", "lecture"], "no recipe 'lecture'; choose from default, paper"),
    (["train", "tiny_test", "--schedule", "sine"], "no schedule 'sine'"),
    (["train", "tiny_test", "--threads", "9999"], "9999 threads asked for"),
    (["train", "tiny_test", "--keep", "0"], "keep 0 is less than 1"),
    (["train", "tiny_test", "--resume"], "no checkpoint to resume from"),
    (["train", "tiny_test", "--seed", "-1"], "seed -1 is not an integer"),
    (["eval", "tiny_test"], "no weights to evaluate; pass --weights"),
    (["eval", "tiny_tset", "--weights", "w"], "did you mean tiny_test"),
    (["eval", "tiny_test", "--weights", "missing.pth"], "missing.pth: there is no such file"),
    (["eval", "tiny_test", "--weights", "seven"], "the weights are for 7 classes (fc.bias), the data set has 10"),
    (["eval", "--weights", "ten"], "does not say which model it is for"),
    (["eval", "tiny_test", "--weights", "ten", "--split", "dev"], "no split 'dev'"),
    (["eval", "tiny_test", "--weights", "ten", "--mean", "0.5"], "pass as many of each"),
    (["eval", "resnet20", "--weights", "ten"], "missing (conv1.weight"),
])
def test_bad_usage_is_one_line_and_status_2(capsys, args, message):
    args = [weights_for({"seven": 7, "ten": 10}[arg]) if arg in ("seven", "ten") else arg for arg in args]
    assert main(args) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not found")
@pytest.mark.slow
@pytest.mark.parametrize(("model", "weights", "data", "top1", "top5", "tolerance"), [
    ("resnet20", "resnet20-12fca82f.th", "cifar10-jpeg.zip", 4051, None, 2),
    ("resnet32", "resnet32-d509ac18.th", "cifar10-jpeg.zip", 4145, None, 2),
    ("squeezenet1_0", "compressed_SqueezeNet.net", "imagenet100.zip", 60, 82, 1)])
def test_published_weights_get_their_count(capsys, model, weights, data, top1, top5, tolerance):
    assert main(["eval", model, "--weights", str(SHARED / weights), "--data", str(SHARED / data), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert abs(score["top1"] - top1) <= tolerance
    assert top5 is None or abs(score["top5"] - top5) <= tolerance
