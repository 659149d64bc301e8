"""Pages of dead arrays are kept for the next ones, and given back on request."""

import sys
from pathlib import Path

import numpy as np
import pytest

from kernels import memory

STATUS = Path("/proc/self/status")


def resident():
    """Bytes of this process in memory."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux" or not STATUS.exists(), reason="reads Linux's /proc")
def test_pages_stay_and_go():
    if not memory.keep_pages():
        pytest.skip("this C library has no mallopt")
    memory.release()
    before = resident()
    array = np.ones(64 << 20, np.uint8)
    del array
    assert resident() > before + (32 << 20)
    assert memory.release()
    assert resident() < before + (32 << 20)


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_function", lambda name: None)
    monkeypatch.setitem(memory._state, "kept", False)
    assert not memory.keep_pages()
    assert not memory.release()
