"""Learning curves of one or several runs as a picture, and their numbers for other programs."""

import json
from pathlib import Path

from minicnn.errors import ArgumentError, BackendError, DataError
from minicnn.io import atomic_write

_LINES = {"train": "--", "validation": ":", "test": "-"}


def read_history(folder):
    """The rows of a run's metrics.jsonl: a list with one dict an epoch. Raises ArgumentError, DataError."""
    path = Path(folder) / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ArgumentError(f"{folder}: has no metrics.jsonl ({error.strerror}); name the folder of a run of "
                            "`minicnn train`") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not made of JSON lines ({str(error)[:80]}); the file is damaged") from error
    if not rows or not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise DataError(f"{path}: has no epochs; train for one at least")
    return rows


def draw_curves(runs, path):
    """Draw loss, accuracy and learning rate over the epochs of each run as a PNG at `path`.

    runs: {name: history}, a history as Trainer.run returns and read_history reads it. Raises BackendError without matplotlib,
    CheckpointError if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendError("curves are drawn by matplotlib, which is not installed; pip install 'minicnn[plot]'") from error
    figure = Figure(figsize=(13, 4), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    for number, (name, history) in enumerate(runs.items()):
        epochs, color = [row["epoch"] for row in history], f"C{number}"
        for part, line in _LINES.items():
            for axes, kind, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
                if f"{part}_{kind}" in history[0]:
                    values = [_number(row.get(f"{part}_{kind}")) * scale for row in history]
                    axes.plot(epochs, values, line, color=color, label=f"{name}, {part}")
        rate.plot(epochs, [_number(row.get("lr")) for row in history], color=color, label=name)
    for axes, title in ((loss, "loss"), (accuracy, "accuracy, %"), (rate, "learning rate")):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.set_yscale("log")
    accuracy.legend(fontsize="small")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _number(value):
    return float("nan") if value is None else value
