"""Checkpoint files: whole or not there, and never silently wrong."""

import errno
import json
import os

import numpy as np
import pytest

from minicnn.errors import ArgumentError, CheckpointError
from minicnn.io import load_safetensors, save_weights
from minicnn.training import resume
from minicnn.training.checkpoint import (
    CheckpointFolder,
    load_checkpoint,
    model_weights,
    save_checkpoint,
    saved_checkpoints,
)

ARRAYS = {"model/w": np.arange(6, dtype=np.float32).reshape(2, 3), "model/count": np.zeros((), np.int64),
          "velocity/0": np.ones((2, 3), np.float64), "average/w": np.full((2, 3), 7, np.float32)}
STATE = {"epoch": 3, "lr": 0.1 + 0.2, "random": {"seed": 2**63, "count": 5}, "none": None}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "epoch-0003.safetensors"
    save_checkpoint(path, ARRAYS, STATE)
    return path


def test_comes_back_bit_for_bit(saved):
    arrays, state = load_checkpoint(saved)
    assert state == STATE
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in ARRAYS.items()}


def test_weights_to_evaluate_are_the_averaged_ones():
    weights = model_weights(ARRAYS)
    assert set(weights) == {"w", "count"}
    assert weights["w"][0, 0] == 7


def test_every_truncation_is_noticed(saved):
    content = saved.read_bytes()
    for length in [*range(0, len(content), 37), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="epoch-0003"):
            load_checkpoint(saved)


def test_every_changed_byte_of_the_arrays_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    for position in range(begin, len(content), 5):
        changed = bytearray(content)
        changed[position] ^= 1
        saved.write_bytes(changed)
        with pytest.raises(CheckpointError, match="checksum does not fit"):
            load_checkpoint(saved)


def test_foreign_and_future_files_are_refused(tmp_path, saved):
    path = tmp_path / "weights.safetensors"
    save_weights(path, {"w": ARRAYS["model/w"]})
    with pytest.raises(CheckpointError, match="no checkpoint of a training run"):
        load_checkpoint(path)
    arrays, metadata = load_safetensors(saved)
    save_weights(path, arrays, {**metadata, "format_version": "2"})
    with pytest.raises(CheckpointError, match="format version 2, this minicnn reads 1"):
        load_checkpoint(path)
    save_weights(path, arrays, {**metadata, "state": "{"})
    with pytest.raises(CheckpointError, match="state is not JSON"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "missing")


def test_keeps_the_last_in_the_order_of_training(tmp_path):
    folder = CheckpointFolder(tmp_path / "a" / "b", keep=2)
    assert folder.latest() is None
    for epoch, batch in [(0, 5), (0, 10), (1, 0), (1, 5), (12, 0)]:
        folder.save(epoch, batch, ARRAYS, STATE)
    names = [path.name for path in saved_checkpoints(tmp_path / "a" / "b")]
    assert names == ["epoch-0001-batch-000005.safetensors", "epoch-0012.safetensors"]
    assert folder.latest().name == names[-1]
    with pytest.raises(ArgumentError, match="keep 0 is less than 1"):
        CheckpointFolder(tmp_path, keep=0)


def test_epochs_beyond_four_digits_still_sort(tmp_path):
    for name in ("epoch-9999", "epoch-10000", "epoch-9999-batch-000001", "other"):
        (tmp_path / f"{name}.safetensors").touch()
    assert [path.stem for path in saved_checkpoints(tmp_path)] == ["epoch-9999", "epoch-9999-batch-000001", "epoch-10000"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, keep=1)
    before = folder.save(1, 0, ARRAYS, STATE).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    for epoch in (1, 2):            # over the old file, and beside it
        with pytest.raises(CheckpointError, match="No space left on device.*untouched"):
            folder.save(epoch, 0, ARRAYS, STATE)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_orphans_of_a_crash_are_swept_and_nothing_else(tmp_path):
    for name in (".epoch-0001.safetensors.0123456789ab.tmp", ".notes.tmp", "epoch-0001.safetensors"):
        (tmp_path / name).write_bytes(b"half")
    CheckpointFolder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".notes.tmp", "epoch-0001.safetensors"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot create .*choose another --out"):
        CheckpointFolder(tmp_path / "file" / "checkpoints")


def test_state_is_readable_by_other_programs(saved):
    from safetensors import safe_open
    with safe_open(saved, "np") as file:
        assert json.loads(file.metadata()["state"]) == STATE
        assert (file.get_tensor("model/w") == ARRAYS["model/w"]).all()


def test_orphans_of_the_whole_run_are_swept(tmp_path, tiny):
    for name in (".metrics.csv.0123456789ab.tmp", ".weights.safetensors.0123456789ab.tmp", ".mine.0123456789ab.tmp",
                 ".metrics.csv"):
        (tmp_path / name).write_bytes(b"half")
    tiny.build(tmp_path, epochs=1).run()
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".metrics.csv", ".mine.0123456789ab.tmp"]


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    folder = CheckpointFolder(tmp_path / "run" / "checkpoints")
    with folder.alone(), pytest.raises(CheckpointError, match="another process trains in .*run; wait for it, end it"):
        CheckpointFolder(tmp_path / "run" / "checkpoints")
    CheckpointFolder(tmp_path / "run" / "checkpoints")


def test_the_lock_is_not_needed_where_there_is_none(tmp_path, monkeypatch):
    import fcntl

    def unsupported(*args):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert CheckpointFolder(tmp_path).latest() is None


@pytest.mark.parametrize(("changes", "match"), [
    ({"epoch": -1}, "epoch and batch are"), ({"batch": 10**9}, "epoch and batch are"),
    ({"epoch": True}, "epoch and batch are"), ({"totals": {"loss": 1}}, "its totals are not those of an epoch"),
    ({"history": [{"a": 1}, {}]}, "the rows of its history"), ({"random": {"seed": "x", "count": 1}}, "does not fit"),
    ({"optimizer": 3}, "does not fit"), ({"schedule": None}, "does not fit")])
def test_forged_states_are_refused(tiny, changes, match):
    trainer = tiny.build()
    arrays, state = trainer.state()
    with pytest.raises(CheckpointError, match=match):
        trainer.restore(arrays, {**state, **changes})


@pytest.mark.parametrize("state", ["[]", "3", "null"])
def test_states_that_are_no_objects(tmp_path, saved, state):
    arrays, metadata = load_safetensors(saved)
    save_weights(saved, arrays, {**metadata, "state": state})
    with pytest.raises(CheckpointError, match="not a JSON object"):
        load_checkpoint(saved)


@pytest.mark.parametrize(("configuration", "match"), [
    (None, "is not one of this minicnn"), ([], "is not one of this minicnn"),
    ({"model": "resnet20"}, "is not one of this minicnn"),
    ({"model": 3, "data": "digits", "recipe": "default"}, "model is '3'"),
    ({"model": "resnet20", "data": "digits", "recipe": "default", "seed": True}, "seed is 'True'"),
    ({"model": "resnet20", "data": "digits", "recipe": "default", "changes": {"batch_size": "x"}}, "describes no training"),
    ({"model": "resnet20", "data": "digits", "recipe": {"augmentation": [[]]}}, "is not one of this minicnn")])
def test_forged_configurations_are_refused(tmp_path, configuration, match):
    CheckpointFolder(tmp_path / "checkpoints").save(1, 0, {}, {"configuration": configuration})
    with pytest.raises(CheckpointError, match=match):
        resume(tmp_path)
