"""The tiny training run of tiny_run.py, which is also a script."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).with_name("tiny_run.py")


@pytest.fixture(scope="session")
def tiny():
    """tiny.build(...), tiny.TinyNet, tiny.loaders, and tiny.script, the path."""
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)), script=SCRIPT)
