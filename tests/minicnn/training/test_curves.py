"""Curves and TensorBoard files of a run: what is in them is what the metrics say."""

import builtins
import json
import struct

import pytest
from PIL import Image

from minicnn.errors import ArgumentError, BackendError, DataError
from minicnn.training.curves import draw_curves, read_history
from minicnn.training.progress import Lines, Several
from minicnn.training.tensorboard import TensorBoard

HISTORY = [{"epoch": i, "train_loss": 2 / i, "train_accuracy": i / 10, "test_loss": 3 / i, "test_accuracy": None, "lr": 0.1}
           for i in (1, 2, 3)]


def without(monkeypatch, library):
    """Let an import of `library` fail."""
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name.split(".")[0] == library:
            raise ImportError(name)
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, "__import__", fake)


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    for name, runs in (("one", {"a": HISTORY}), ("two", {"a": HISTORY, "b": HISTORY[:2]})):
        draw_curves(runs, tmp_path / name)
    one, two = (Image.open(tmp_path / name) for name in ("one", "two"))
    assert one.format == "PNG"
    assert one.size[0] > 1000
    assert one.tobytes() != two.tobytes()


def test_history_is_read_back(tiny, tmp_path):
    history = tiny.build(tmp_path, epochs=2).run()
    assert read_history(tmp_path) == json.loads(json.dumps(history))


@pytest.mark.parametrize(("content", "error", "match"), [
    (None, ArgumentError, "has no metrics.jsonl .*name the folder of a run"), ("", DataError, "has no epochs"),
    ("[1]\n", DataError, "has no epochs"), ("{", DataError, "is not made of JSON lines"),
    ("[" * 100_000, DataError, "is not made of JSON lines"), (b"\xff\xfe", DataError, "is not made of JSON lines")])
def test_metrics_that_are_none(tmp_path, content, error, match):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=match):
        read_history(tmp_path)


def test_without_the_libraries(tmp_path, monkeypatch):
    without(monkeypatch, "matplotlib")
    with pytest.raises(BackendError, match=r"not installed; pip install 'minicnn\[plot\]'"):
        draw_curves({"a": HISTORY}, tmp_path / "x.png")
    without(monkeypatch, "tensorboardX")
    with pytest.raises(BackendError, match=r"not installed; pip install 'minicnn\[tensorboard\]'"):
        TensorBoard(tmp_path)


def fields(message):
    """(field number, value) of a protocol buffer, one level; source: protobuf.dev/programming-guides/encoding."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(message):
        key = varint()
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = varint() if size is None else size
            yield key >> 3, message[at:at + size]
            at += size


def scalars(folder):
    """{tag: [(step, value)]} of a folder's event files, read record by record."""
    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        content, at = path.read_bytes(), 0
        while at < len(content):
            size, = struct.unpack_from("<Q", content, at)
            event = dict(fields(content[at + 12:at + 12 + size]))
            at += 16 + size
            for number, value in fields(event.get(5, b"")):
                scalar = dict(fields(value))
                if number == 1 and 2 in scalar:
                    found.setdefault(scalar[1].decode(), []).append((event.get(2, 0), struct.unpack("<f", scalar[2])[0]))
    return found


def test_tensorboard_has_every_figure_once_also_after_resuming(tiny, tmp_path, capsys):
    pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
    first = tiny.build(tmp_path / "run", epochs=1, reporter=TensorBoard(tmp_path / "tb"))
    first.run()
    second = tiny.build(tmp_path / "run", epochs=3, reporter=Several(Lines(), TensorBoard(tmp_path / "tb")))
    second.restore(*first.state())
    history = second.run()
    found = scalars(tmp_path / "tb")
    assert found["loss/test"] == [(row["epoch"], pytest.approx(row["test_loss"])) for row in history]
    assert found["accuracy/train"] == [(row["epoch"], pytest.approx(row["train_accuracy"])) for row in history]
    assert found["lr"] == [(row["epoch"], pytest.approx(row["lr"])) for row in history]
    assert "epoch 3/3" in capsys.readouterr().out
