"""Benchmarks: what is compared, kept and shown, with figures made up here."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import layers, memory, peers, results, session, shapes, startup, trajectory
from benchmarks.__main__ import main, parse
from benchmarks.workers import BenchmarkError, Worker
from minicnn.cli.output import print_table


def row(model="resnet50", mode="train", **rates):
    """A row of peers with these images per second; _ in the names stands for -."""
    contenders = {name.replace("_", "-"): {"images_per_second": rate} for name, rate in rates.items()}
    return {"model": model, "mode": mode, "batch": 16, "difference": 1e-6, "contenders": contenders,
            **peers.compare(model, mode, contenders)}


def test_ratio_is_to_the_best_mode_of_pytorch():
    found = row(mode="inference", minicnn=20.0, minicnn_fused=30.0, torch=10.0, torch_compile=25.0, onnxruntime=40.0)
    assert found["ratio_torch"] == 30 / 25
    assert found["ratio_onnxruntime"] == 30 / 40
    assert (found["wanted_torch"], found["wanted_onnxruntime"]) == (1.0, 0.9)


def test_ratio_without_a_peer_is_none():
    found = row(minicnn=20.0)
    assert found["ratio_torch"] is None
    assert found["ratio_onnxruntime"] is None


def test_training_has_no_wish_for_onnxruntime():
    assert row(minicnn=20.0, torch=10.0)["wanted_onnxruntime"] is None


def test_summary_has_quantiles():
    found = results.summary([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (found["least"], found["q25"], found["median"], found["q75"]) == (1.0, 2.0, 3.0, 4.0)
    assert found["runs"] == 5


def test_lists_of_numbers_stand_on_one_line():
    document = {"seconds": [1.0, 2e-05, -3], "rows": [{"name": "a, [ 1"}, []], "empty": [], "names": ["x", "y"]}
    text = results.to_json(document)
    assert json.loads(text) == document
    assert '"seconds": [1.0, 2e-05, -3]' in text


@pytest.mark.parametrize(("losses", "names"), [([2.0, 2.01], "torch"), ([2.0, float("nan")], "torch")])
def test_contenders_that_disagree_are_refused(losses, names):
    with pytest.raises(BenchmarkError, match=f"the losses of {names} differ from minicnn's by .* nothing was timed"):
        peers.largest_difference("train", {"minicnn": [2.0, 2.0], "torch": losses})


def test_largest_difference_is_relative():
    assert peers.largest_difference("inference", {"a": [[100.0, 0.0]], "b": [[100.0, 0.01]]}) == pytest.approx(1e-4)


def test_a_compilation_inside_a_timed_region_is_refused():
    @contextlib.contextmanager
    def compiling():
        seen = SimpleNamespace(compiled=0)
        yield seen
        seen.compiled = 2
    with pytest.raises(BenchmarkError, match="2 functions were compiled inside the timed training step"):
        session.timed(lambda: None, compiling, 0.0, "training step")


def test_timed_runs_once_at_least_and_fills_its_time():
    @contextlib.contextmanager
    def quiet():
        yield SimpleNamespace(compiled=0)
    calls = []
    assert len(session.timed(lambda: calls.append(1), quiet, 0.0, "x")) == len(calls) == 1
    assert sum(session.timed(lambda: None, quiet, 0.001, "x")) >= 0.001


def test_every_contender_draws_the_same_batch():
    a, b = session.batch((2, 3, 4, 5), 10, "float64"), session.batch((2, 3, 4, 5), 10, "float64")
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    assert a[0].dtype == np.float64
    assert not np.array_equal(a[0], session.batch((2, 3, 4, 5), 10, "float64", seed=1)[0])


def test_turns_begin_with_another_contender_each_round(monkeypatch):
    monkeypatch.setattr(peers, "PAUSE", 0)
    order = []

    def worker(name):
        return SimpleNamespace(call=lambda method, seconds: order.append(name) or [float(len(order))])
    times = peers.take_turns({name: worker(name) for name in "abc"}, "train", 3, lambda name: None)
    assert "".join(order) == "abcbcacab"
    assert times == {"a": [1.0, 6.0, 8.0], "b": [2.0, 4.0, 9.0], "c": [3.0, 5.0, 7.0]}


def test_results_are_json_with_the_machine_in_it(tmp_path):
    path = results.write(tmp_path / "new" / "peers.json", "python -m benchmarks peers", 2, {"rows": [row(minicnn=1.0)]})
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["command"] == "python -m benchmarks peers"
    assert found["machine"]["cpu"]["usable"] >= 1
    assert found["machine"]["versions"]["numpy"] == np.__version__
    assert found["rows"][0]["model"] == "resnet50"


def test_results_refuse_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write(tmp_path / "x.json", "", 2, {"value": float("nan")})


def layer_row(op="conv2d", **sizes):
    """A row of `kernels` with one contender each."""
    layer = {"op": op, "models": {"resnet50": 3}, "output_values": 1000, **sizes}
    timed = {"ours": 1e-3, "theirs": 1.5e-3, "ratio": 1.5, "difference": 1e-6,
             "contenders": {"minicnn without winograd": {"median": 2e-3}}}
    return layers.with_limits({**layer, "passes": {key: dict(timed) for key in shapes.passes(op)}}, {"fma": 1e12, "copy": 1e10})


CONVOLUTION = {"shape": (16, 256, 56, 56), "weight": (512, 8, 3, 3), "stride": 2, "padding": 1, "groups": 32}


def test_work_of_a_convolution():
    assert shapes.macs(CONVOLUTION) == 16 * 512 * 28 * 28 * 8 * 9
    found = layer_row(**CONVOLUTION)["passes"]["weight"]
    assert found["of_limit"] == pytest.approx(2 * 16 * 512 * 28 * 28 * 72 / 1e-3 / 1e12)


def test_traffic_of_a_memory_bound_layer():
    found = layer_row("relu", shape=(10, 10, 2, 5))["passes"]
    assert found["forward"]["bytes_per_second"] == pytest.approx(8000 / 1e-3)
    assert found["backward"]["bytes_per_second"] == pytest.approx(12000 / 1e-3)


def test_descriptions_of_layers():
    assert shapes.describe({"op": "conv2d", **CONVOLUTION}) == "16x256x56x56 3x3/2 -> 512 g32"
    concat = {"op": "concat", "shapes": ((16, 64, 7, 7),) + 5 * ((16, 32, 7, 7),)}
    assert shapes.describe(concat) == "64+32+128 x16x7x7"


def test_conclusions_count_shapes():
    rows = [layer_row(**CONVOLUTION), layer_row(**CONVOLUTION)]
    rows[1]["passes"]["data"]["ratio"] = 0.9
    text = "\n".join(layers.conclusions(rows, {"fma": 1e12, "copy": 1e10}))
    assert "limits: 1000 GFLOP/s" in text
    assert "conv2d forward: as fast as PyTorch's best layout or faster on 2 of 2 shapes (100 %)" in text
    assert "conv2d data: as fast as PyTorch's best layout or faster on 1 of 2 shapes (50 %)" in text


def test_winograd_is_left_out_of_the_share_of_wide_layers():
    row = layer_row(shape=(16, 64, 56, 56), weight=(64, 64, 3, 3), stride=1, padding=1, groups=1)
    limit = 2 * shapes.macs(row) / 2e-3 / 0.9       # so that the time without Winograd is 90 % of it
    line = layers.conclusions([layers.with_limits(row, {"fma": limit, "copy": 1e10})], {"fma": limit, "copy": 1e10})[-1]
    assert "without Winograd: 90 to 90 % of the limit on 1 shapes, 85 % or more on 1" in line


def test_layers_that_disagree_are_seen():
    a = [np.array([1.0, 2.0]), np.array([3.0])]
    assert layers.disagreement(a, [np.array([1.0, 2.2]), np.array([3.0])]) == pytest.approx(0.2 / 2.2)
    assert layers.disagreement(a, [np.array([1.0]), np.array([3.0])]) == float("inf")


def tables():
    """Every table at its widest."""
    names = ("minicnn", "minicnn_fused", "torch", "torch_channels_last", "torch_compile", "onnxruntime")
    wide = row("resnext50_32x4d", "inference", **dict.fromkeys(names, 1234.5))
    yield peers.table([wide], "inference")
    yield peers.table([row("resnext50_32x4d", **dict.fromkeys(names[:1] + names[2:5], 1234.5))], "train")
    yield layers.table([layer_row(**{**CONVOLUTION, "shape": (128, 1024, 56, 56)})], "conv2d")
    yield layers.table([layer_row("concat", shapes=4 * ((16, 1024, 14, 14),))], "concat")
    peaks = dict.fromkeys(peers.MODES["train"], 12345 << 20)
    yield memory.table([{"model": "resnext50_32x4d", "batch": 128, "peak_bytes": peaks, "ratio_torch": 0.7, "wanted": 0.8}])
    losses = {"minicnn": [6.9, 5.1], "torch": [6.9, 5.1]}
    yield trajectory.table([{"model": "squeezenet1_1", "dtype": "float32", "batch": 16, "losses": losses, "difference": 1e-5,
                             "pytorch_itself": 1e-5, "wanted": 1e-3}])
    cold = {"functions": 123, "seconds": 35.5, "process_seconds": 45.5}
    yield startup.table({"import": {"median": 0.5}, "first_step": {"median": 1.5}, "warmup": cold, "cold_step": cold,
                         "loading": cold, "memory": {"resident": [1 << 30] * 11, "growth": 0}})


def test_drift_is_the_largest_not_the_last():
    assert trajectory.drift([1.0, 2.0, 3.0], [1.0, 2.5, 3.1]) == 0.5


@pytest.mark.parametrize("number", range(7))
def test_tables_fit_a_hundred_columns(number, capsys):
    columns, rows = list(tables())[number]
    assert all(len(row) == len(columns) for row in rows)
    print_table(columns, rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(rows), "folded: a column was too narrow"
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(("line", "message"), [
    (["peers", "resnet5"], "no twin of resnet5; choose from alexnet_owt"),
    (["peers", "--repeats", "4"], "--repeats 4 is too few .* at least 5"),
    (["peers", "--batch", "0"], "0 is not at least 1"),
    (["kernels", "conv"], "no operation 'conv'; choose from conv2d"),
    (["kernels", "--repeats", "1"], "--repeats 1 is too few")])
def test_bad_usage_is_one_line_and_status_2(line, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(line)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)


def test_what_is_not_installed_is_one_line_and_status_2(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["peers", "resnet20", "--mode", "train"]) == 2
    assert capsys.readouterr().err == "torch not installed, which minicnn is compared with: pip install -e .[peers]\n"


def test_a_worker_answers_and_says_what_went_wrong():
    with Worker("calculator", "fractions:Fraction", {"numerator": 3, "denominator": 4}, 1) as worker:
        assert worker.call("limit_denominator", 1) == 1
        with pytest.raises(BenchmarkError, match="calculator: ValueError: max_denominator should be at least 1"):
            worker.call("limit_denominator", 0)
        assert worker.call("as_integer_ratio") == (3, 4)


def test_a_worker_that_cannot_start_says_why():
    with pytest.raises(BenchmarkError, match="nobody: ModuleNotFoundError: No module named 'no_such_engine'"):
        Worker("nobody", "no_such_engine:Engine", {}, 1)


def test_a_worker_that_dies_is_noticed():
    with pytest.raises(BenchmarkError, match="mortal: its process ended with status 7"):
        Worker("mortal", "os:_exit", {"status": 7}, 1)
