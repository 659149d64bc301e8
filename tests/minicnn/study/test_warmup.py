"""`minicnn warmup` compiles what it says: each rung gets shapes that it computes itself."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels.conv2d import grouped, implicit_gemm, winograd, winograd_many
from minicnn import models
from minicnn.study import warmup

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("rung", "entries"), [
    ("grouped", [(grouped, "_multiply"), (grouped, "_correlate")]),
    ("winograd", [(winograd, "_convolve_tiles"), (winograd_many, "_convolve_panels")])])
def test_a_rung_that_leaves_shapes_to_another_is_reached(rung, entries, monkeypatch):
    """Nothing is handed to implicit_gemm, and every way of the rung is taken."""
    called = set()

    def note(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: (called.add(name), real(*args))[1])
    for module, name in entries:
        note(module, name)

    def handed_on(*args, **more):
        raise AssertionError("left to implicit_gemm")
    for direction in ("forward", "backward"):
        monkeypatch.setattr(implicit_gemm, direction, handed_on)
    step, = (run for what, run in warmup.kernel_steps(("float32",)) if what == f"conv2d {rung} float32")
    step()
    assert called == {name for _, name in entries}


@pytest.mark.parametrize("rung_or_step", ["linear tiles float32", "linear backward, float32"])
def test_linear_layers_are_wide_enough_for_tiles(rung_or_step, monkeypatch):
    """Columns that fill no vector are added up elsewhere, and would leave the tiles uncompiled."""
    from kernels.linear import tiles
    called = set()

    def note(name, real):
        monkeypatch.setattr(tiles, name, lambda *args: (called.add(name), real(*args))[1])
    for name in ("_input_gradient", "_weight_gradient"):
        note(name, getattr(tiles, name))
    step, = (run for what, run in warmup.kernel_steps(("float32",)) if what == rung_or_step)
    step()
    assert called == {"_input_gradient", "_weight_gradient"}


def test_every_rung_of_every_room_is_warmed():
    named = {tuple(what.split()[:2]) for what, _ in warmup.kernel_steps(("float64",)) if "," not in what}
    rooms = {name: room for name, room in kernels.ROOMS.items() if name in {op for op, _ in named}}
    assert named == {(name, rung) for name, room in rooms.items() for rung in room.rungs if rung != "reference"}


@pytest.mark.jit
def test_helpers_take_the_steps_that_the_layers_need():
    """In other processes, which this one waits for only here."""
    model = models.create("resnet20")
    assert {"Conv2d", "BatchNorm2d", "Linear", "Loss"} <= warmup.layer_names(model)
    with warmup.helpers({"Loss", "Identity"}, 1) as done:
        deadline = time.monotonic() + 120
        while len(done) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert [name for name, _ in done] == ["loss", "update"]


@pytest.mark.parametrize(("layers", "count"), [({"Conv2d"}, 0), (set(), 2)])
def test_no_helper_where_there_is_no_core_or_no_step(layers, count):
    with warmup.helpers(layers, count) as done:
        assert done == []


@pytest.mark.jit
@pytest.mark.parametrize("name", warmup.STEPS)
def test_a_step_computes_in_the_dtype_it_is_told(name, monkeypatch):
    """Its arrays and no others reach the rooms' compiled rungs."""
    seen = []
    real = kernels.dispatch.threads.call

    def note(function, *args, alone=False):
        seen.extend(a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f")
        return real(function, *args, alone=alone)
    monkeypatch.setattr(kernels.dispatch.threads, "call", note)
    warmup.STEPS[name][1]("float32")
    assert set(seen) <= {np.dtype("float32")}
    assert seen or name == "update"         # which takes lists


@pytest.mark.jit
@pytest.mark.slow
def test_after_warming_up_a_training_step_compiles_nothing(tmp_path):
    def run(*command):
        return subprocess.run([sys.executable, *command], env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, check=True,
                              cwd=ROOT, capture_output=True, text=True, timeout=600).stdout
    assert "functions compiled" in run("-m", "minicnn", "warmup", "resnet20")
    assert json.loads(run("-c", "from benchmarks import startup; startup.first_step()")) == 0
