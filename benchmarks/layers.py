"""Every distinct layer of the networks, minicnn against PyTorch, each in both layouts, in turn; the command `kernels`.

Convolutions are timed in three passes: forward, the gradient of the data, the gradient of the weights. Results are compared
before anything is timed. The best layout of each engine counts. Shares of the limit count the multiply-adds of the definition:
Winograd's algorithm makes do with fewer and may exceed it, so 3x3 layers are timed without it as well.
"""

import importlib
import time

import numpy as np

from benchmarks import shapes
from benchmarks.results import ratio, summary
from benchmarks.workers import BenchmarkError, Worker

TURN, PAUSE = 0.03, 0.01
MOST = 100                  # runs to a turn: what goes before one may take far longer than the run
TOLERANCE = 2e-4            # of the largest value, in float32: sums of thousands of products, in another order
SAMPLE = 20_000             # values of a result that are compared, spread over all of it


class LayerSession:
    """One engine's layers, in its own process."""

    def __init__(self, engine, threads=2):
        if engine == "torch_layers":
            import torch
            torch.set_num_threads(threads)
        self.engine = importlib.import_module(f"benchmarks.{engine}")
        self.passes = {}

    def prepare(self, layer, dtype="float32"):
        """Draw the arrays and run every pass of every variant once -> {(variant, pass): samples}, output values."""
        self.passes, found, size = {}, {}, 0
        arrays = draw(layer, dtype)
        for name in self.engine.variants(layer):
            for key, (before, run) in self.engine.make(layer, arrays, name).items():
                result = run(before())
                size = size or np.asarray(_first(result)).size
                found[name, key] = sampled(result)
                self.passes[name, key] = before, run
        return found, size

    def time(self, name, key, seconds):
        """Seconds of each run of a pass, at least one; what goes before it is not timed. Raises if anything compiled."""
        before, run = self.passes[name, key]
        times = []
        with self.engine.watching() as seen:
            while not times or (sum(times) < seconds and len(times) < MOST):
                given = before()
                start = time.perf_counter()
                run(given)
                times.append(time.perf_counter() - start)
        if seen.compiled:
            raise BenchmarkError(f"{seen.compiled} functions were compiled inside the timed {key}; its time means nothing")
        return times


def _first(result):
    return result[0] if isinstance(result, tuple | list) else result


def sampled(result):
    """Up to SAMPLE values of each array of a result, in C order."""
    parts = result if isinstance(result, tuple | list) else (result,)
    flat = [np.asarray(part).ravel() for part in parts if part is not None]
    return [values[::max(1, values.size // SAMPLE)].copy() for values in flat]


def draw(layer, dtype, seed=0):
    """The input arrays of a layer, the same for every engine."""
    rng = np.random.default_rng(seed)
    op = layer["op"]

    def normal(shape):
        return rng.standard_normal(shape, np.float32).astype(dtype)
    if op == "sgd":
        return [normal(shape) for shape in layer["parameters"]]
    if op == "concat":
        return [normal(shape) for shape in layer["shapes"]]
    x = normal(layer["shape"])
    if op == "conv2d":
        weight = normal(layer["weight"])
        return [x, weight / np.sqrt(weight[0].size, dtype=dtype)]
    if op.startswith("batch_norm"):
        C = x.shape[1]
        more = [normal(x.shape)] if "add" in op else []
        return [x, normal(C) + np.dtype(dtype).type(3), normal(C), *more]
    return [x]


def disagreement(ours, theirs):
    """The largest difference of two engines' samples, of the largest value of each array; infinite for other shapes."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return float("inf")
        worst = max(worst, float(np.abs(a.astype(np.float64) - b).max() / max(np.abs(b).max(), 1e-30)))
    return worst


def time_layer(layer, chosen, repeats, workers):
    """{"layer": …, "passes": {pass: times and ratios}} of one layer; workers: {"minicnn": Worker, "torch": Worker}."""
    prepared = {name: worker.call("prepare", layer) for name, worker in workers.items()}
    found, size = {name: answer[0] for name, answer in prepared.items()}, prepared["minicnn"][1]
    rows = {}
    for key in shapes.passes(layer["op"]):
        if chosen and key not in chosen:
            continue
        contenders = [(name, layout) for name, results in found.items() for layout, of in results if of == key]
        reference = next(values for (_, of), values in found["torch"].items() if of == key)
        difference = max(disagreement(found[name][layout, key], reference) for name, layout in contenders)
        if not difference <= TOLERANCE:
            raise BenchmarkError(f"{layer['op']} {shapes.describe(layer)} {key}: results differ by {difference:.1e} of the "
                                 "largest value; not timed")
        times = take_turns(key, contenders, repeats, workers)
        rows[key] = {"difference": difference, "contenders": {f"{name} {layout}": summary(seconds)
                                                              for (name, layout), seconds in times.items()}}
        rows[key].update(compared(rows[key]["contenders"]))
    return {**layer, "output_values": size, "passes": rows}


def take_turns(key, contenders, repeats, workers):
    """{(engine, layout): seconds}; each round begins with another contender."""
    times = {contender: [] for contender in contenders}
    for turn in range(repeats):
        first = turn % len(contenders)
        for name, layout in contenders[first:] + contenders[:first]:
            time.sleep(PAUSE)
            times[name, layout] += workers[name].call("time", layout, key, TURN)
    return times


def compared(rows):
    """{"ours", "theirs": least median seconds, "ratio"}: how many times faster than PyTorch's best layout."""
    ours, theirs = (min(row["median"] for name, row in rows.items() if name.startswith(engine))
                    for engine in ("minicnn", "torch"))
    return {"ours": ours, "theirs": theirs, "ratio": theirs / ours}


def with_limits(row, limits):
    """Adds to each pass of a layer its rate and what share of the machine's limit that is."""
    for key, found in row["passes"].items():
        if row["op"] == "conv2d":
            found["flops_per_second"] = 2 * shapes.macs(row) / found["ours"]
            found["of_limit"] = found["flops_per_second"] / limits["fma"]
            plain = found["contenders"].get("minicnn without winograd")
            if plain:
                found["of_limit_without_winograd"] = 2 * shapes.macs(row) / plain["median"] / limits["fma"]
        else:
            found["bytes_per_second"] = 4 * shapes.values(row, row["output_values"])[key] / found["ours"]
            found["of_limit"] = found["bytes_per_second"] / limits["copy"]
    return row


def find_layers(ops, models, batch, batch_of):
    """The layers to time, in the order of ops, those that minicnn has no op for left out."""
    from benchmarks.minicnn_layers import LAYERS
    found = shapes.layers(models, lambda model: batch or batch_of(model))
    found = [layer for layer in found if layer["op"] in ops and layer["op"] in LAYERS]
    for layer in found:
        if layer["op"] == "sgd":
            layer["parameters"] = parameter_shapes(layer["model"])
            layer["values"] = sum(int(np.prod(shape)) for shape in layer["parameters"])
    return sorted(found, key=lambda layer: shapes.OPS.index(layer["op"]))


def parameter_shapes(model):
    """Shapes of all parameters of a registered model."""
    from minicnn import models
    return [parameter.shape for parameter in models.create(model).parameters()]


def start(engine, threads):
    """A worker with a LayerSession of "minicnn" or "torch"."""
    return Worker(engine, "benchmarks.layers:LayerSession", {"engine": f"{engine}_layers", "threads": threads}, threads)


def run(layers, chosen, repeats, threads, progress, keep):
    """Time all layers; keep(limits, rows) at the end. A layer that fails has an "error"."""
    before, rows = measure_limits(threads), []
    with (progress("kernels", len(layers)) as advance, start("minicnn", threads) as ours, start("torch", threads) as theirs):
        for layer in layers:
            advance(0, f"{layer['op']} {shapes.describe(layer)}")
            try:
                rows.append(time_layer(layer, chosen, repeats, {"minicnn": ours, "torch": theirs}))
            except BenchmarkError as error:
                rows.append({**layer, "error": str(error)})
            advance(1)
    after = measure_limits(threads)
    limits = {name: max(before[name], after[name]) for name in before}
    rows = [row if "error" in row else with_limits(row, limits) for row in rows]
    keep(limits, rows)
    return limits, rows


def measure_limits(threads):
    """The machine's limits by a worker of their own; measured before and after, the larger counts."""
    with Worker("limits", "benchmarks.limits:Limits", {"threads": threads}, threads) as worker:
        return worker.call("measure")


def table(rows, op):
    """(columns, rows as texts) of one op: for each pass milliseconds, ratio to PyTorch's best layout, percent of the limit."""
    rows = [row for row in rows if row["op"] == op and "error" not in row]
    keys = [key for key in shapes.passes(op) if any(key in row["passes"] for row in rows)]
    columns = [op, ">n"] + [head for key in keys for head in (f">{key}", ">ratio", ">%")]
    lines = []
    for row in rows:
        line = [shapes.describe(row), sum(row["models"].values())]
        for key in keys:
            found = row["passes"][key]
            line += [f"{1e3 * found['ours']:.3g}", ratio(found["ratio"]), f"{100 * found['of_limit']:.0f}"]
        lines.append(line)
    return columns, lines


def conclusions(rows, limits):
    """Lines that say on how many shapes minicnn is at least as fast, and what share of the limits it reaches."""
    lines = [f"limits: {limits['fma'] / 1e9:.0f} GFLOP/s multiply-adds in the first cache, {limits['copy'] / 1e9:.1f} GB/s "
             "copying (read and written)"]
    good = [row for row in rows if "error" not in row]
    for op in dict.fromkeys(row["op"] for row in good):
        for key in shapes.passes(op):
            found = [row["passes"][key] for row in good if row["op"] == op and key in row["passes"]]
            if found:
                fast = sum(f["ratio"] >= 1 for f in found)
                middle = sorted(f["of_limit"] for f in found)[len(found) // 2]
                lines.append(f"{op} {key}: as fast as PyTorch's best layout or faster on {fast} of {len(found)} shapes "
                             f"({100 * fast / len(found):.0f} %); {100 * middle:.0f} % of the limit in the middle")
    for key in shapes.CONVOLUTION_PASSES:
        wide = [row["passes"][key]["of_limit_without_winograd"] for row in good if is_wide(row) and key in row["passes"]]
        if wide:
            lines.append(f"conv2d {key}, 3x3 with stride 1 and 64 channels or more, without Winograd: {100 * min(wide):.0f} to "
                         f"{100 * max(wide):.0f} % of the limit on {len(wide)} shapes, 85 % or more on "
                         f"{sum(share >= 0.85 for share in wide)}")
    return lines


def is_wide(layer):
    """3x3 with stride 1, at least 64 channels in and out, no groups."""
    return (layer["op"] == "conv2d" and layer["weight"][2:] == (3, 3) and layer["stride"] == 1 and layer["groups"] == 1
            and min(layer["weight"][:2]) >= 64)
