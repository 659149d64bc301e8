"""Every input that was kept goes through its reader; each fuzz target runs for a moment, with tests/fuzz/run.py for longer."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import targets

HERE = Path(__file__).parent
INPUTS = sorted((HERE / "corpus").glob("*/*"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_inputs_that_were_kept(path):
    """Valid files, and what once brought a reader down."""
    targets.run(targets.TARGETS[path.parent.name], path.read_bytes())


def test_every_target_has_a_corpus():
    assert set(targets.TARGETS) == {path.parent.name for path in INPUTS}


@pytest.mark.slow
def test_a_short_run_of_each_target(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed; it has wheels for Linux on x86-64 with Python 3.11 to 3.14: pip install "
                    "'minicnn[fuzz]'")
    ran = subprocess.run([sys.executable, HERE / "run.py", "all", "-runs=200", "-seed=1"], capture_output=True, text=True,
                         env={**os.environ, "MINICNN_FUZZ_FOLDER": str(tmp_path)})
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.count("nothing found, 200 inputs") == len(targets.TARGETS)
