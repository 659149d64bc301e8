"""A run that was broken off anywhere and resumed ends with the same bits as one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minicnn
from kernels import dispatch, threads
from minicnn.errors import CheckpointError
from minicnn.io import load_safetensors
from minicnn.training import load_checkpoint, saved_checkpoints
from minicnn.training.progress import Silent

ROOT = Path(minicnn.__file__).parents[1]


class BreakOff(Silent):
    """Interrupts training after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def batch(self, trainer):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def assert_same_bits(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype
        assert array.tobytes() == expected[name].tobytes(), name


def final(trainer):
    """(weights, velocities, …) and the figures of each epoch that do not depend on the clock."""
    rows = [{name: value for name, value in row.items() if "second" not in name} for row in trainer.history]
    return {name: array.copy() for name, array in trainer.state()[0].items()}, rows


@pytest.mark.parametrize(("broken_after", "checkpoint_every", "accumulate"), [(3, 1, 1), (8, 1, 1), (9, 2, 2), (7, None, 1)])
def test_interrupted_and_resumed_is_bit_equal(tiny, tmp_path, broken_after, checkpoint_every, accumulate):
    options = {"checkpoint_every": checkpoint_every, "accumulate": accumulate, "recompute_batch_norm": True}
    whole = tiny.build(tmp_path / "whole", **options)
    whole.run()
    broken = tiny.build(tmp_path / "broken", reporter=BreakOff(broken_after), **options)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    found = saved_checkpoints(tmp_path / "broken" / "checkpoints")
    resumed = tiny.build(tmp_path / "broken", workers=2, **options)
    minicnn.seed(999)               # what happened in between must not matter
    if found:
        resumed.restore(*load_checkpoint(found[-1]))
        assert (resumed.epoch, resumed.batch) != (0, 0)
    else:
        pytest.fail("no checkpoint was written")
    resumed.run()
    arrays, rows = final(whole)
    resumed_arrays, resumed_rows = final(resumed)
    assert_same_bits(resumed_arrays, arrays)
    assert resumed_rows == rows


def test_any_number_of_threads_gives_the_same_bits(tiny, monkeypatch):
    """Of the kernels, where even few values are shared among the threads, and of the loader."""
    if threads.most() < 2:
        pytest.skip("this machine has one core")
    monkeypatch.setattr(dispatch, "FEW", 0)
    ends = []
    for count, workers in ((1, 0), (2, 3)):
        with threads.num_threads(count):
            trainer = tiny.build(epochs=2, workers=workers, recompute_batch_norm=True)
            trainer.run()
        ends.append(final(trainer))
    assert_same_bits(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_gradients_are_never_half_gathered_in_a_checkpoint(tiny, tmp_path):
    trainer = tiny.build(tmp_path, accumulate=4, checkpoint_every=1, epochs=1, keep=99)
    trainer.run()
    positions = [load_checkpoint(path)[1]["batch"] for path in saved_checkpoints(tmp_path / "checkpoints")]
    assert positions == [4, 0]      # six batches: an update after four, and one at the end


def test_another_model_is_refused(tiny, tmp_path):
    tiny.build(tmp_path, epochs=1).run()
    path = saved_checkpoints(tmp_path / "checkpoints")[-1]
    other = tiny.build(model=tiny.TinyNet(num_classes=7))
    with pytest.raises(CheckpointError, match=r"mis-shaped \(fc.weight"):
        other.restore(*load_checkpoint(path))
    arrays, state = load_checkpoint(path)
    del state["schedule"]
    with pytest.raises(CheckpointError, match="does not fit this training"):
        tiny.build().restore(arrays, state)


def kill_at_random(script, folder, rng):
    """Run the script, kill it after a random number of batches; True if it came to its end before."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, script, folder], stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    batches = rng.randrange(1, 8)
    for _ in range(batches):
        if not process.stdout.readline():
            break
    else:
        time.sleep(rng.random() * 0.02)     # into the next batch, or its checkpoint
        process.send_signal(signal.SIGKILL)
    process.stdout.close()
    return process.wait() == 0


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_is_bit_equal(tiny, tmp_path):
    """SIGKILL: no handler runs, nothing is cleaned up."""
    subprocess.run([sys.executable, tiny.script, tmp_path / "whole"], check=True, stdout=subprocess.DEVNULL, cwd=ROOT,
                   env={**os.environ, "PYTHONPATH": str(ROOT)})
    rng, kills = random.Random(time.time_ns()), 0
    while not kill_at_random(tiny.script, tmp_path / "killed", rng):
        kills += 1
        assert kills < 60, "no progress between kills"
    assert kills > 0
    assert_same_bits(load_safetensors(tmp_path / "killed" / "weights.safetensors")[0],
                     load_safetensors(tmp_path / "whole" / "weights.safetensors")[0])
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*")), "an orphan of a killed write was left"
    arrays = [load_checkpoint(saved_checkpoints(tmp_path / run / "checkpoints")[-1])[0] for run in ("killed", "whole")]
    assert_same_bits(*arrays)
    assert np.isfinite(arrays[0]["model/fc.weight"]).all()
