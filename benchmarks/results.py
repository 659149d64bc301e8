"""Figures as they are kept and shown: medians and quantiles, JSON with the machine in it, tables."""

import json
import re
import statistics
import time
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
PEERS = ("torch", "onnxruntime")


def summary(times):
    """{"median", "q25", "q75", "least", "runs": how many} of a list of seconds."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    return {"median": middle, "q25": low, "q75": high, "least": min(times), "runs": len(times)}


def write(path, command, threads, result):
    """Write a result with the machine, the versions, the time and the command that made it; returns the path."""
    from minicnn.study import machine
    found = machine.facts()
    versions = found["versions"] | {name: _version(name) for name in PEERS}
    document = {"command": command, "date": time.strftime("%Y-%m-%d %H:%M:%S %z"), "threads": threads,
                "machine": {"cpu": found["cpu"], "memory": found["resources"]["memory_total"], "versions": versions},
                **result}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(document) + "\n", encoding="utf-8")
    return path


def to_json(document):
    """Indented JSON with each list of numbers on one line."""
    text = json.dumps(document, indent=1, allow_nan=False)
    return re.sub(r"\[[-+.\de,\s]+\]", lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text)


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def ratio(value):
    """A ratio as text, a dash for None."""
    return "-" if value is None else f"{value:.2f}"


def rate(value):
    """Images per second as text: three digits."""
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
