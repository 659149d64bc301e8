"""How much memory a training step takes at its peak, in a fresh process for each contender: `peers --memory`."""

from benchmarks.peers import HEADS, Meeting, batch_of, contenders
from benchmarks.results import ratio

WANTED = 0.8            # of the leanest mode of PyTorch
STEPS = 3


def run(models, batch, threads, chosen, progress, keep):
    """Peak bytes of a process that makes three training steps, for each model and contender, one process at a time."""
    names, rows = contenders("train", chosen), []
    with progress("memory", len(models) * len(names)) as advance:
        for model in models:
            size, peaks = batch or batch_of(model), {}
            for name in names:
                advance(0, f"{model}: {name}")
                with Meeting(model, "train", [name], size, threads) as meeting:
                    meeting.workers[name].call("warm_up", "train", STEPS)
                    peaks[name] = meeting.workers[name].call("peak_memory")
                advance(1)
            others = [peak for name, peak in peaks.items() if name.startswith("torch")]
            ratio_torch = peaks["minicnn"] / min(others) if others and "minicnn" in peaks else None
            rows.append({"model": model, "batch": size, "peak_bytes": peaks, "ratio_torch": ratio_torch, "wanted": WANTED})
            keep(rows)
    return rows


def table(rows):
    """(columns, rows as texts) of run, in MiB."""
    names = list(rows[0]["peak_bytes"])
    columns = ["model", ">batch", *[">" + HEADS.get(name, name) for name in names], ">/leanest PyTorch", ">wanted"]
    return columns, [[row["model"], row["batch"], *[f"{row['peak_bytes'][name] / 2 ** 20:.0f}" for name in names],
                      ratio(row["ratio_torch"]), ratio(row["wanted"])] for row in rows]
