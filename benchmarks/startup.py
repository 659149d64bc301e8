"""What a user waits for before the first step, and what stays behind after many: the command `startup`.

Import, first training step and compilation are timed in fresh processes. Figures kept apart: the first step with compiled
kernels in Numba's cache, compiling everything into an empty cache (by `minicnn warmup`, which uses all cores, and by a training
step alone), and loading it from there again.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import ENVIRONMENT
from benchmarks.results import summary
from benchmarks.session import batch, peak_memory, resident_memory
from benchmarks.workers import ROOT, BenchmarkError

WANTED = {"import": 0.6, "first step": 2.0, "cold compilation": 40.0, "memory growth": 0}
STEPS, SETTLED = 100, 10        # training steps whose memory is watched, after so many to settle


def child(function, threads, **variables):
    """(seconds from its start to its last word, what it printed as JSON) of benchmarks.startup.function in a new process."""
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads), **variables}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", f"from benchmarks import startup; startup.{function}()"], cwd=ROOT,
                          env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise BenchmarkError(f"startup: {function} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return seconds, json.loads(done.stdout.splitlines()[-1])


def import_alone():
    """In a child: seconds of `import minicnn`."""
    start = time.perf_counter()
    import minicnn  # noqa: F401
    print(time.perf_counter() - start)


def first_step():
    """In a child: one training step of ResNet-20 on 128 images; prints how many functions were compiled for it."""
    from minicnn.study.compilation import watching
    with watching() as seen:
        _Training("resnet20", 128).step()
    print(seen.compiled)


def compile_resnet50():
    """In a child: a training step and a forward pass of ResNet-50 on 16 images; prints what Numba did meanwhile."""
    from minicnn import Tensor, no_grad
    from minicnn.study.compilation import watching
    training = _Training("resnet50", 16)
    with watching() as seen:
        training.step()
        training.model.eval()
        with no_grad():
            training.model(Tensor(training.images))
    print(json.dumps({"functions": seen.compiled, "seconds": seen.seconds}))


def warm_resnet50():
    """In a child: minicnn warmup resnet50; its own output goes to the error stream."""
    from minicnn import cli
    with contextlib.redirect_stdout(sys.stderr):
        status = cli.main(["warmup", "resnet50"])
    print(json.dumps(status))


def many_steps():
    """In a child: resident bytes after every tenth training step of ResNet-50 on 2 images, and the peak."""
    training, resident = _Training("resnet50", 2), []
    for i in range(1, SETTLED + STEPS + 1):
        training.step()
        if i % 10 == 0:
            resident.append(resident_memory())
    print(json.dumps({"resident": resident, "peak": peak_memory()}))


class _Training:
    """A registered model with its optimizer and one random batch."""

    def __init__(self, name, images):
        from minicnn import models, optim
        self.model = models.create(name)
        self.optimizer = optim.SGD(self.model.parameters(), 1e-3, 0.9, 1e-4)
        self.images, self.labels = batch((images, *models.info(name).input_shape), 10, "float32")

    def step(self):
        from benchmarks.step import step
        step(self.model, self.optimizer, self.images, self.labels)


def run(repeats, threads, progress):
    """All figures, as a dict for the results file."""
    with progress("startup", 2 * repeats + 5) as advance:
        advance(0, "import")
        imports = []
        for _ in range(repeats):
            imports.append(child("import_alone", threads)[1])
            advance(1)
        advance(0, "first step of ResNet-20")
        first = first_steps(repeats, threads, advance)
        advance(0, "compiling for ResNet-50")
        found = compile_and_load(threads, advance)
        advance(0, f"{STEPS} training steps of ResNet-50")
        memory = child("many_steps", threads)[1]
        advance(1)
    memory["growth"] = memory["resident"][-1] - memory["resident"][SETTLED // 10 - 1]
    return {"import": summary(imports), "first_step": summary(first), **found, "memory": memory}


def first_steps(repeats, threads, advance):
    """Seconds from the start of a process to the end of its first training step, with the kernels in the cache."""
    times = []
    for i in range(repeats + 1):                # the first run fills the cache
        seconds, compiled = child("first_step", threads)
        if i and compiled:
            raise BenchmarkError(f"startup: {compiled} functions were compiled although an earlier process had compiled them; "
                                 "they are not kept in Numba's cache")
        times += [seconds] if i else []
        advance(1)
    return times


def compile_and_load(threads, advance):
    """What compiling for ResNet-50 takes, three times: `minicnn warmup` with an empty cache, a step with what that left there,
    and a step alone with an empty cache."""
    found = {}
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as empty:
        found["warmup"] = {"process_seconds": child("warm_resnet50", threads, NUMBA_CACHE_DIR=warm)[0]}
        advance(1)
        for name, cache in (("loading", warm), ("cold_step", empty)):
            seconds, seen = child("compile_resnet50", threads, NUMBA_CACHE_DIR=cache)
            found[name] = {**seen, "process_seconds": seconds}
            advance(1)
    if found["loading"]["functions"]:
        raise BenchmarkError(f"startup: a step of ResNet-50 compiled {found['loading']['functions']} functions that "
                             "`minicnn warmup resnet50` had left out; its time is not that of all")
    return found


def table(result):
    """(columns, rows as texts) of what `run` found, with what is wanted."""
    cold, memory = result["cold_step"], result["memory"]
    growth = np.diff(memory["resident"])
    rows = [
        ("import minicnn", f"{result['import']['median']:.2f} s", f"{WANTED['import']} s", ""),
        ("first step of ResNet-20, batch 128", f"{result['first_step']['median']:.2f} s", f"{WANTED['first step']:g} s",
         "process start to end, kernels in the cache"),
        ("minicnn warmup resnet50", f"{result['warmup']['process_seconds']:.1f} s", f"{WANTED['cold compilation']:g} s",
         "compiling into an empty cache, start to end"),
        ("a step of it and evaluation then", f"{result['loading']['seconds']:.2f} s", "", "loading; nothing was compiled"),
        ("the same, compiling on its way", f"{cold['seconds']:.1f} s", "",
         f"{cold['functions']} functions; {cold['process_seconds']:.1f} s with the step itself"),
        (f"memory after {STEPS} more steps", f"{memory['growth'] / 2 ** 20:+.1f} MiB", f"{WANTED['memory growth']} MiB",
         f"ResNet-50, batch 2; most in ten {growth.max() / 2 ** 20:+.1f} MiB")]
    return ("figure", ">measured", ">wanted", "how"), rows
