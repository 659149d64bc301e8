"""`minicnn warmup` compiles what it says: each rung gets shapes that it computes itself."""

import pytest

import kernels
from kernels.conv2d import grouped, implicit_gemm, winograd, winograd_many
from minicnn.study import warmup


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


def test_every_rung_of_every_room_is_warmed():
    named = {tuple(what.split()[:2]) for what, _ in warmup.kernel_steps(("float64",))}
    rooms = {name: room for name, room in kernels.ROOMS.items() if name in {op for op, _ in named}}
    assert named == {(name, rung) for name, room in rooms.items() for rung in room.rungs if rung != "reference"}
