"""Without a GPU everything works as before, and whoever asks for one hears why there is none."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels import device
from kernels.errors import BackendError
from minicnn import Tensor, nn
from minicnn.cli import main

absent = pytest.mark.skipif(device.available(), reason="there is a GPU, or the simulator")


def test_asking_for_a_gpu_without_the_extra_names_it(monkeypatch):
    monkeypatch.setattr("kernels.device.importlib.util.find_spec", lambda name: None)
    assert device.why_not() == "the package numba-cuda is not installed; pip install 'minicnn[cuda]'"
    with pytest.raises(BackendError, match="there is no GPU to use: the package numba-cuda is not installed; pip install"):
        Tensor([1.0]).to("cuda")


@absent
def test_asking_for_a_gpu_that_is_not_there_says_why():
    with pytest.raises(BackendError, match=r"there is no GPU to use: .*, or stay on the CPU with device 'cpu'"):
        nn.Linear(2, 2).to("cuda")
    x = Tensor([1.0])
    assert x.to("cpu") is x


@absent
def test_training_on_a_gpu_that_is_not_there_ends_before_it_starts(tmp_path, capsys):
    assert main(["train", "resnet20", "--device", "cuda", "--out", str(tmp_path / "run")]) == 2
    assert "there is no GPU to use" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@absent
def test_doctor_says_why_there_is_none(capsys):
    assert main(["doctor"]) == 0
    assert " ".join(device.why_not().split()[:3]) in " ".join(capsys.readouterr().out.split())


def test_cpu_arrays_load_no_cuda():
    code = ("import sys, numpy, minicnn; from minicnn import ops, Tensor; ops.relu(Tensor(numpy.ones((2, 2)))); "
            "assert not {'numba_cuda', 'numba.cuda', 'kernels.device.shim'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_number_of_the_host_is_no_array_of_it():
    assert device.place("op", [np.float32(2), np.asarray(2.0), np.arange(3)]) == "cpu"


def functions(path):
    """The public functions that a file defines, less `uniform`, which reference.py shows for its tests."""
    found = (node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef))
    return {name for name in found if not name.startswith("_") and name != "uniform"}


@pytest.mark.parametrize("room", kernels.ROOMS)
def test_every_room_has_a_cuda_version_of_every_function(room):
    place = Path(kernels.__file__).parent / room
    assert functions(place / "reference.py") <= functions(place / "cuda.py")


def test_one_module_imports_numba_cuda():
    """And one its simulator: whoever swaps the library edits the shim."""
    importers = {path.name for package in ("kernels", "minicnn", "benchmarks")
                 for path in (Path(kernels.__file__).parents[1] / package).rglob("*.py")
                 for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba"
                 and ("cuda" in (node.module or "") or "cuda" in {alias.name for alias in node.names})}
    assert importers == {"shim.py", "simulated.py"}
