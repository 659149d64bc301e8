"""How far the losses of training runs from the same weights and batches drift from PyTorch's: `peers --trajectory`.

Dropout is off: its draws differ between engines. The largest drift counts, not the last.
"""

from benchmarks.peers import Meeting, batch_of

MODELS, STEPS, RATE = ("resnet20", "squeezenet1_1"), 20, 0.01
WANTED = {"float32": 1e-3, "float64": 1e-8}      # the largest difference of a loss


def run(models, batch, threads, progress):
    """Losses of STEPS updates, each on its own batch, in float32 and float64, and how far they drift apart."""
    rows = []
    with progress("trajectories", 2 * len(models)) as advance:
        for model in models:
            for dtype, wanted in WANTED.items():
                advance(0, f"{model} {dtype}")
                size = batch or batch_of(model)
                with Meeting(model, "train", ("minicnn", "torch"), size, threads, dtype) as meeting:
                    losses = meeting.ask("losses", STEPS, RATE, True)
                drift = max(abs(a - b) for a, b in zip(losses["minicnn"], losses["torch"]))
                rows.append({"model": model, "dtype": dtype, "batch": size, "learning_rate": RATE,
                             "losses": losses, "difference": drift, "wanted": wanted})
                advance(1)
    return rows


def table(rows):
    """(columns, rows as texts) of run."""
    columns = ("model", "dtype", ">batch", ">first loss", ">last loss", ">largest difference", ">wanted")
    return columns, [(row["model"], row["dtype"], row["batch"], f"{row['losses']['minicnn'][0]:.4f}",
                      f"{row['losses']['minicnn'][-1]:.4f}", f"{row['difference']:.1e}", f"{row['wanted']:g}") for row in rows]
