"""Every file made to harm is refused, each in a process of its own within 500 MB."""

import os
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest

TESTS = Path(hostile_files.__file__).parent


@pytest.mark.slow
def test_every_hostile_file_is_refused():
    ran = subprocess.run([sys.executable, hostile_files.__file__], capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(ran.stdout.splitlines()) == len(hostile_files.CASES)
