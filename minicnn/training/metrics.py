"""metrics.csv and metrics.jsonl of a run: one row an epoch."""

import csv
import io
import json
import math
from pathlib import Path

from minicnn.io import atomic_write


def write_metrics(folder, history):
    """Write both files anew from `history`, a list of dicts with the same keys: each file is whole at any moment.

    In JSON a number that is not finite is null. Raises CheckpointError if the files cannot be written.
    """
    if not history:
        return
    table = io.StringIO()
    writer = csv.DictWriter(table, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    lines = [json.dumps({name: _finite(value) for name, value in row.items()}) + "\n" for row in history]
    for name, text in (("metrics.csv", table.getvalue()), ("metrics.jsonl", "".join(lines))):
        with atomic_write(Path(folder) / name) as file:
            file.write(text.encode())


def _finite(value):
    return value if not isinstance(value, float) or math.isfinite(value) else None
