"""minicnn gradcheck, end to end."""

import json

import pytest

from kernels.activation import cpu
from minicnn import ops
from minicnn.cli import main
from minicnn.gradcheck import cases


def test_every_op_that_computes_has_a_case():
    assert set(ops.__all__) - {"ChannelBuffer", "to"} <= set(cases.CASES)


@pytest.mark.parametrize("name", sorted(cases.CASES))
def test_every_op(name, capsys):
    assert main(["gradcheck", name]) == 0
    assert "gradients right" in capsys.readouterr().out


def test_rung_random_cases_and_json(capsys):
    assert main(["gradcheck", "linear", "--rung", "cpu", "--hypothesis", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert report["notes"] == ["3 random cases more, all right"]


def test_a_wrong_kernel_exits_with_1(capsys, monkeypatch):
    monkeypatch.setattr(cpu, "relu_backward", lambda gy, y, reuse: 2 * gy * (y > 0))
    assert main(["gradcheck", "relu"]) == 1
    out = capsys.readouterr().out
    assert "x: wrong at" in out
    assert "2 times the right one" in out


def test_a_bug_that_only_a_random_case_shows_says_how_to_see_it_again(capsys, monkeypatch):
    right = cpu.relu_backward
    monkeypatch.setattr(cpu, "relu_backward", lambda gy, y, reuse: right(gy, y) * (1 if y.shape == (3, 4, 5) else 2))
    assert main(["gradcheck", "relu", "--hypothesis", "5"]) == 1
    assert "again with --seed 0 --hypothesis 1" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["nothing"], "'nothing' is neither an op nor a model"), (["conv2d", "--rung", "magic"], "conv2d has no rung 'magic'"),
    (["exp", "--rung", "cpu"], "exp has no rungs"), (["resnet20", "--rung", "cpu"], "--rung and --hypothesis are for ops"),
    (["relu", "--hypothesis", "-1"], "must not be negative")])
def test_bad_usage_exits_with_2(arguments, message, capsys):
    assert main(["gradcheck", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_model(capsys):
    assert main(["gradcheck", "resnet20"]) == 0
    assert "layer3.2.conv2.weight: right" in capsys.readouterr().out
