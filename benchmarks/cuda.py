"""Timing on a GPU: every layer and whole training steps, minicnn's CUDA kernels against PyTorch's, by CUDA events.

    python -m benchmarks kernels --device cuda      python -m benchmarks peers --device cuda

What is timed runs between two events of its stream, after a kernel that writes more than the second-level cache holds, so that
operands come from memory, and one that takes longer than the host needs to launch what follows: what is timed are kernels one
after the other, not the host. What the host needs is in the time of a whole step, and measured apart on a kernel that does
nothing. The limits are the device's own, measured here: copying a large array, by the driver or by our kernel, whichever is
faster, and multiply-adds in registers. PyTorch is timed in float32 twice, with TF32 off, which is the same arithmetic, and with
TF32 on, which is not; every figure names which.
"""

import contextlib
import time

import numpy as np

from benchmarks import layers as host
from benchmarks import shapes
from benchmarks.results import ratio, summary
from kernels import device
from kernels.device import pool, shim
from kernels.device.array import DeviceArray
from kernels.device.copies import fill
from kernels.device.shim import SIMULATED, THREADS, cuda, kernel, launch

FLUSH = 64 if SIMULATED else 64 << 20           # float32 values: 256 MiB, five times the largest cache there is
LIMIT = 64 if SIMULATED else 128 << 20          # float32 values of the copy: 512 MiB read, as many written
CHAINS, UNROLLED = 8, 2 if SIMULATED else 16    # independent multiply-adds of a thread; so many of each between two tests
ROUNDS = 2 if SIMULATED else 256
BLOCKS = 1 if SIMULATED else 4096
AHEAD = 1 if SIMULATED else 1024                # blocks of multiply-adds that run while the host launches what is timed
WARM_UP, LEAST_RUNS = 3, 20
LOSS_TOLERANCE = 1e-3
CYCLES = 1_000_000          # that PyTorch's stream waits for its host


class Clock:
    """Seconds on the device between two events of minicnn's stream, caches flushed."""

    def __init__(self):
        self.flushed, self.busy = DeviceArray((FLUSH,), np.float32), DeviceArray((AHEAD * THREADS,), np.float32)

    def time(self, run, given):
        start, stop = cuda.event(), cuda.event()
        fill(self.flushed, 1)
        launch(_multiply_adds, AHEAD, THREADS, self.busy, np.float32(1))
        start.record(shim.stream())
        run(given)
        stop.record(shim.stream())
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3


class TorchClock:
    """The same for PyTorch, on its stream."""

    def __init__(self):
        import torch
        self.torch, self.flushed = torch, torch.empty(FLUSH, device="cuda")

    def time(self, run, given):
        start, stop = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flushed.fill_(1)
        self.torch.cuda._sleep(CYCLES)
        start.record()
        run(given)
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3


def times_of(clock, before, run, runs):
    """Seconds of `runs` runs after WARM_UP more; what goes before each is not timed."""
    found = [clock.time(run, before()) for _ in range(WARM_UP + runs)]
    return found[WARM_UP:]


def limits(runs=LEAST_RUNS):
    """{"copy": bytes read and written a second, "fma": FLOP/s in float32, "launch_device", "launch_host": seconds each}"""
    clock, numbers = Clock(), np.float32(1)
    source, target = (DeviceArray((LIMIT,), np.float32) for _ in range(2))
    fill(source, 1)
    out = DeviceArray((BLOCKS * THREADS,), np.float32)
    copy = min(time for run in (_driver_copy, _own_copy)
               for time in times_of(clock, lambda: None, lambda _, run=run: run(target, source), runs))
    fma = min(times_of(clock, lambda: None, lambda _: launch(_multiply_adds, BLOCKS, THREADS, out, numbers), runs))
    nothing = times_of(clock, lambda: None, lambda _: launch(_nothing, 1, THREADS, out), runs)
    return {"copy": 2 * source.nbytes / max(copy, 1e-9), "fma": 2 * CHAINS * UNROLLED * ROUNDS * out.size / max(fma, 1e-9),
            "launch_device": sorted(nothing)[runs // 2], "launch_host": _host_seconds(out, runs)}


def _driver_copy(target, source):
    target.flat.copy_to_device(source.flat, stream=shim.stream())


def _own_copy(target, source):
    target[...] = source


def _host_seconds(out, runs):
    """What the host takes to launch a kernel, without waiting for it."""
    start = time.perf_counter()
    for _ in range(runs):
        launch(_nothing, 1, THREADS, out)
    return (time.perf_counter() - start) / runs


@kernel
def _nothing(out):
    pass


@kernel
def _multiply_adds(out, one):
    """CHAINS sums that do not wait for one another, each UNROLLED · ROUNDS multiply-adds long, in registers."""
    total = cuda.local.array(CHAINS, np.float32)
    factor = one * np.float32(cuda.threadIdx.x)
    for c in range(CHAINS):
        total[c] = one
    for _ in range(ROUNDS):
        for _ in range(UNROLLED):
            for c in range(CHAINS):
                total[c] = total[c] * factor + one
    value = one
    for c in range(CHAINS):
        value += total[c]
    out[cuda.grid(1)] = value


def peer():
    """PyTorch where it can use this GPU, else None: then minicnn is timed alone."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


@contextlib.contextmanager
def tf32(on):
    """PyTorch's float32 products in TF32, or not."""
    import torch
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def time_layer(layer, chosen, runs, torch=None):
    """{"layer": …, "passes": {pass: contenders' times, ratios}} of one layer. Raises BenchmarkError where results differ."""
    from benchmarks import minicnn_layers
    arrays = host.draw(layer, "float32")
    ours = minicnn_layers.LAYERS[layer["op"]](layer, [device.to_device(a) for a in arrays])
    theirs = {}
    if torch:
        from benchmarks import torch_layers
        there = [torch.from_numpy(a).cuda() for a in arrays]
        with tf32(False):           # gy is what a forward pass gives, and has to be the same here and there
            theirs = (torch_layers.sgd(layer, there, fused=True) if layer["op"] == "sgd" else
                      torch_layers.LAYERS[layer["op"]](layer, there))
    rows, size = {}, 0
    for key in shapes.passes(layer["op"]):
        if chosen and key not in chosen:
            continue
        before, run = ours[key]
        result = run(before())
        size = size or host._first(result).size
        if torch:                   # at once: an update's result moves on with every run
            _compare(layer, key, result, theirs[key])
        contenders = {"minicnn": summary(times_of(Clock(), before, run, runs))}
        if torch:
            for on in (False, True):
                with tf32(on):
                    contenders[f"torch TF32 {'on' if on else 'off'}"] = summary(times_of(TorchClock(), *theirs[key], runs))
        rows[key] = {"contenders": contenders, **_ratios(contenders)}
    return {**layer, "output_values": size, "passes": rows}


def _compare(layer, key, result, theirs):
    """Raises BenchmarkError unless both engines computed the same, PyTorch with TF32 off."""
    before, run = theirs
    with tf32(False):
        other = run(before())
    other = [part.cpu().numpy() for part in (other if isinstance(other, tuple | list) else [other])]
    difference = host.disagreement(host.sampled(result), host.sampled(other))
    if not difference <= host.TOLERANCE:
        raise host.BenchmarkError(f"{layer['op']} {shapes.describe(layer)} {key}: results differ by {difference:.1e} of the "
                                  "largest value; not timed")


def _ratios(contenders):
    """How many times faster than PyTorch, None without it."""
    median = {name: found["median"] for name, found in contenders.items()}
    theirs, with_tf32 = median.get("torch TF32 off"), median.get("torch TF32 on")
    return {"ours": median["minicnn"], "theirs": theirs, "ratio": theirs and theirs / median["minicnn"],
            "ratio_tf32": with_tf32 and with_tf32 / median["minicnn"]}


def run(found, chosen, repeats, progress, keep=lambda limits, rows: None):
    """(limits, rows) of all layers, as benchmarks.layers.run gives them; a layer that fails has an "error". `keep` gets what
    there is after each."""
    torch, measured, rows = peer(), limits(), []
    with progress("kernels on the GPU", len(found)) as advance:
        for layer in found:
            advance(0, f"{layer['op']} {shapes.describe(layer)}")
            try:
                rows.append(host.with_limits(time_layer(layer, chosen, max(repeats, LEAST_RUNS), torch), measured))
            except host.BenchmarkError as error:
                rows.append({**layer, "error": str(error)})
            _release(torch)
            keep(measured, rows)
            advance(1)
    return measured, rows


def _release(torch):
    """Both engines' free memory, or what one keeps for its next layer is not there for the other."""
    pool.release()
    if torch:
        torch.cuda.empty_cache()


def conclusions(rows, measured):
    """Lines: the limits, the cost of a launch, and for each op and pass its share of the limit and its ratio to PyTorch."""
    lines = [f"{shim.name()}: {measured['fma'] / 1e12:.3g} TFLOP/s multiply-adds, {measured['copy'] / 1e9:.4g} GB/s copying; "
             f"a launch takes {1e6 * measured['launch_device']:.3g} µs on the device, "
             f"{1e6 * measured['launch_host']:.3g} µs on the host"]
    good = [row for row in rows if "error" not in row]
    for op in dict.fromkeys(row["op"] for row in good):
        for key in shapes.passes(op):
            found = [row["passes"][key] for row in good if row["op"] == op and key in row["passes"]]
            if found:
                limit, off, on = (_middle([f[name] for f in found]) for name in ("of_limit", "ratio", "ratio_tf32"))
                lines.append(f"{op} {key}: {100 * limit:.0f} % of the limit in the middle of {len(found)} shapes; PyTorch's "
                             f"time over ours {ratio(off)} with TF32 off, {ratio(on)} with TF32 on")
    return lines


def _middle(values):
    values = sorted(v for v in values if v is not None)
    return values[len(values) // 2] if values else None


def run_models(models, batch, batch_of, repeats, progress, keep=lambda rows: None):
    """One row a model: milliseconds of a whole training step (forward, loss, backward, update), images there already. `keep`
    gets what there is after each."""
    torch, rows = peer(), []
    with progress("training steps on the GPU", len(models)) as advance:
        for name in models:
            advance(0, name)
            try:
                rows.append(time_step(name, batch or batch_of(name), max(repeats, LEAST_RUNS), torch))
            except host.BenchmarkError as error:
                rows.append({"model": name, "error": str(error)})
            _release(torch)
            keep(rows)
            advance(1)
    return rows


def time_step(name, batch, runs, torch=None):
    """{"model", "batch", "contenders", ratios} of one model. Raises BenchmarkError where the first losses differ."""
    from benchmarks.peers import shape_and_classes
    from minicnn import models
    shape, classes = shape_and_classes(name, batch)
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal(shape, np.float32), rng.integers(0, classes, batch)
    model = models.create(name, num_classes=classes)
    theirs, twin = _torch_step(torch, name, model, images, labels) if torch else (None, None)
    ours = _minicnn_step(model, images, labels)
    if torch:
        with tf32(False), _no_dropout(model, twin, torch):
            first, other = ours().item(), theirs().item()
        if not abs(first - other) <= LOSS_TOLERANCE * abs(other):
            raise host.BenchmarkError(f"{name}: the first losses are {first} and PyTorch's {other}; not timed")
    contenders = {"minicnn": summary(times_of(Clock(), lambda: None, lambda _: ours(), runs))}
    for on in (False, True) if torch else ():
        with tf32(on):
            contenders[f"torch TF32 {'on' if on else 'off'}"] = summary(
                times_of(TorchClock(), lambda: None, lambda _: theirs(), runs))
    return {"model": name, "batch": batch, "contenders": contenders, **_ratios(contenders)}


@contextlib.contextmanager
def _no_dropout(model, twin, torch):
    """Each engine draws its own masks: none while losses are compared."""
    from benchmarks.engines import set_dropout
    from minicnn import nn
    both = (model, nn.Dropout), (twin, torch.nn.Dropout)
    for network, kind in both:
        set_dropout(network, kind, False)
    yield
    for network, kind in both:
        set_dropout(network, kind, True)


def _minicnn_step(model, images, labels):
    from benchmarks.engines import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
    from minicnn import Tensor, ops, optim
    optimizer = optim.SGD(model.to("cuda").parameters(), LEARNING_RATE, MOMENTUM, WEIGHT_DECAY)
    there = device.to_device(images)

    def step():
        output = model(Tensor(there))
        loss = model.loss(output, labels) if hasattr(model, "loss") else ops.cross_entropy(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss
    return step


def _torch_step(torch, name, model, images, labels):
    from benchmarks.engines import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
    from benchmarks.torch_models import TWINS, loss
    twin = TWINS[name]()
    twin.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in model.state_dict().items()})
    twin = twin.cuda().train()
    optimizer = torch.optim.SGD(twin.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    there, targets = torch.from_numpy(images).cuda(), torch.from_numpy(labels).cuda()

    def step():
        value = loss(twin(there), targets)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value
    return step, twin


def steps_table(rows):
    """(columns, rows as texts) of run_models."""
    columns = ["model", ">batch", ">ms", ">images/s", ">PyTorch/ours, TF32 off", ">TF32 on"]
    return columns, [[row["model"], row["batch"], f"{1e3 * row['ours']:.3g}", f"{row['batch'] / row['ours']:.0f}",
                      ratio(row["ratio"]), ratio(row["ratio_tf32"])] for row in rows if "error" not in row]
