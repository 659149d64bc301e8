"""The commands that look at networks, end to end in this process: summary, models, compare, bench, doctor, warmup, study."""

import json
import re
import sys

import numpy as np
import pytest

import kernels
from minicnn import io, models
from minicnn.cli import main, output


def run(capsys, *arguments):
    """(exit status, stdout, stderr) of one command."""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_summary(capsys):
    status, out, _ = run(capsys, "summary", "resnet20")
    assert status == 0
    assert "269,722" in out
    assert "40,551,040" in out
    assert max(map(len, out.splitlines())) <= 100


def test_summary_as_json_with_another_input_and_classes(capsys):
    status, out, _ = run(capsys, "summary", "resnet20", "--input", "3,64,48", "--batch", "2", "--num-classes", "5", "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["model"], found["input_shape"], found["batch"]) == ("resnet20", [3, 64, 48], 2)
    assert found["layers"][-1]["output_shape"] == [2, 5]


@pytest.mark.parametrize(("arguments", "message"), [
    (("summary", "resnet21"), "there is no model 'resnet21'; did you mean"),
    (("summary", "resnet20", "--input", "3,32"), "are not (N, 3, H, W)"),
    (("summary", "resnet20", "--batch", "0"), "not made of positive integers"),
    (("models", "transformer"), "no network's name contains 'transformer'"),
    (("compare", "resnet20", "resnet21"), "there is no model 'resnet21'"),
    (("warmup", "resnet21"), "there is no model 'resnet21'"),
    (("study", "resnet21"), "there is no model 'resnet21'"),
    (("bench", "linear", "--kernel", "3"), "bench linear: takes no kernel; it takes shape, out"),
    (("bench", "conv2d", "--shape", "3,32,32"), "is not 4 positive numbers"),
])
def test_bad_input_is_one_line_and_status_2(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [("summary", "resnet20", "--input", "3,a,3"), ("bench", "conv3d"), ("summary",)])
def test_bad_usage_is_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2


def test_models(capsys):
    status, out, _ = run(capsys, "models")
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    heading = lines.index("He et al. 2016, Deep residual learning for image recognition")
    assert heading < lines.index("resnet20 20 269,722 40.6 M 3x32x32 CIFAR-10+ 8.75 % (table 6)")
    assert {line.split()[0] for line in lines if line} > set(models.names())
    assert max(map(len, out.splitlines())) <= 100
    status, out, _ = run(capsys, "models", "resnet20", "--json")
    found = {info["name"]: info for info in json.loads(out)}
    assert found["resnet20"]["depth"] == 20
    assert found["resnet20"]["published"][0]["top1"] == 8.75


def test_compare(capsys):
    status, out, _ = run(capsys, "compare", "plain20", "resnet20", "--batch", "2")
    assert status == 0
    assert "40.6 M" in out
    assert "81x81" in out
    status, out, _ = run(capsys, "compare", "plain20", "resnet20", "--no-timing", "--json")
    plain, residual = json.loads(out)
    assert plain["parameters"] == residual["parameters"] == 269_722
    assert residual["error"] == 8.75
    assert residual["forward"] is None


def test_compare_plot_without_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = run(capsys, "compare", "resnet20", "--no-timing", "--plot", tmp_path / "plot.png")
    assert status == 2
    assert "pip install 'minicnn[plot]'" in err


def test_compare_plot(capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib (the extra `plot`) is not installed")
    status, _, _ = run(capsys, "compare", "resnet20", "resnet32", "--no-timing", "--plot", tmp_path / "plot.png")
    assert status == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = run(capsys, "compare", "resnet20", "--no-timing", "--plot", tmp_path / "plot.xyz")
    assert status == 2
    assert "give it the suffix .png" in err
    status, _, err = run(capsys, "compare", "plain20", "--no-timing", "--plot", tmp_path / "none.png")
    assert "none of the networks has a published error" in err


def test_bench(capsys):
    status, out, _ = run(capsys, "bench", "linear", "--shape", "2,8", "--out", "4", "--seconds", "0")
    assert status == 0
    for rung in kernels.rungs("linear"):
        assert rung in out
    status, out, _ = run(capsys, "bench", "pool2d", "--shape", "1,2,9,9", "--seconds", "0", "--dtype", "float64", "--json")
    assert [result["title"] for result in json.loads(out)] == ["max pooling", "average pooling"]


def test_bench_of_a_wrong_rung_is_status_1(capsys, monkeypatch):
    module = kernels.ROOMS["linear"].rung("cpu")
    right = module.forward
    monkeypatch.setattr(module, "forward", lambda *args: right(*args) + 1)
    status, out, _ = run(capsys, "bench", "linear", "--shape", "2,8", "--out", "4", "--seconds", "0")
    assert status == 1
    assert "WRONG" in out


def test_doctor(capsys):
    status, out, _ = run(capsys, "doctor")
    assert status == 0
    assert "kernel cache" in out
    assert "advice:" in out or "nothing is off" in out
    status, out, _ = run(capsys, "doctor", "--json")
    assert set(json.loads(out)) == {"versions", "cpu", "tile", "threads", "blas", "gpu", "cache", "resources",
                                    "advice"}


@pytest.mark.parametrize(("total", "line"), [(None, "compiling: 3 a\n"), (40, "compiling: 3 of 40 a\n")])
def test_progress_without_a_terminal(capsys, monkeypatch, total, line):
    monkeypatch.setattr(output, "_PLAIN_SECONDS", -1)
    with output.progress("compiling", total) as advance:
        advance(3, "a")
    assert capsys.readouterr().err == line


@pytest.mark.slow
def test_warmup(capsys):
    status, out, _ = run(capsys, "warmup", "resnet20")
    assert status == 0
    assert "functions compiled" in out
    status, out, err = run(capsys, "warmup")
    assert status == 0
    assert "`minicnn warmup resnet20` compiles only what that network needs" in err


@pytest.mark.slow
def test_study(capsys, tmp_path):
    status, out, _ = run(capsys, "study", "resnet20", "--quick", "--out", tmp_path / "page")
    assert status == 0
    page = tmp_path / "page" / "index.html"
    assert f"The page: {page.resolve()}" in out
    assert "right  Conv2d" in out
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_study_as_json(capsys, tmp_path):
    status, out, err = run(capsys, "study", "resnet20", "--quick", "--json", "--out", tmp_path)
    found = json.loads(out)
    assert status == 0
    assert found["page"] == str(tmp_path / "index.html")
    assert found["right"] is True
    assert "Gradient check" in err


OWN = """
from minicnn import nn, ops

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)

    def forward(self, x):
        return self.last(ops.global_avg_pool2d(ops.relu(self.norm(self.conv(x)))))
"""


@pytest.fixture
def photo(tmp_path):
    from PIL import Image
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_study_of_a_module_of_ones_own(capsys, tmp_path, photo):
    (tmp_path / "mine.py").write_text(OWN)
    status, out, _ = run(capsys, "study", f"{tmp_path / 'mine.py'}:Net", "--image", photo, "--size", "12", "--quick",
                         "--class", "7", "--out", tmp_path / "page")
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert status == 0
    assert "One image's way through it" in out
    assert "Training" not in out            # a photograph and no data: the network stays as it is
    found = json.loads(re.search(r'id="inside-data">(.*?)</script>', text, re.DOTALL).group(1))
    assert (found["height"], found["width"], found["classes"][0]["index"]) == (12, 12, 7)
    assert "class Net(nn.Module)" in found["sources"][found["modules"][""]["source"]]
    assert [check["passed"] for check in found["checks"]] == [True] * len(found["checks"])
    assert [node["check"] for node in found["nodes"]].count(None) == 0


def test_study_with_weights(capsys, tmp_path, photo):
    """Trained weights bring their classes and preprocessing; a test image of the data, no training."""
    model = models.create("resnet20", num_classes=10)
    io.save_weights(tmp_path / "w.safetensors", model.state_dict())
    status, out, _ = run(capsys, "study", "resnet20", "--weights", tmp_path / "w.safetensors", "--data", "digits",
                         "--index", "3", "--quick", "--out", tmp_path / "page")
    assert status == 0
    assert "Training" not in out
    assert "; it is " in out
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "--index 3" in text


@pytest.mark.parametrize(("arguments", "message"), [
    (("--weights", "w.pth"), "weights, but nothing to look at; add --image PHOTO, or --data DATA"),
    (("--image", "nothing.jpg"), "nothing.jpg: there is no such image"),
])
def test_study_without_what_it_needs(capsys, tmp_path, arguments, message):
    status, _, err = run(capsys, "study", "resnet20", *arguments, "--out", tmp_path / "page")
    assert status == 2
    assert message in err
    assert not (tmp_path / "page").exists()


def test_study_of_a_class_that_is_not_there(capsys, tmp_path, photo):
    status, _, err = run(capsys, "study", "resnet20", "--image", photo, "--class", "dragon", "--out", tmp_path / "page")
    assert status == 2
    assert "there is no class 'dragon'" in err


def test_study_with_a_data_set_that_is_not_there(capsys, tmp_path):
    status, _, err = run(capsys, "study", "resnet20", "--data", tmp_path / "nothing", "--out", tmp_path / "page")
    assert status == 2
    assert "there is no such file or folder" in err
    assert not (tmp_path / "page").exists()
