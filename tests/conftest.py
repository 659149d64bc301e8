"""Fixtures that every test shares: nothing global may leak from one test into the next."""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import minicnn
from kernels import threads
from minicnn import autograd, random

SHARED = Path(__file__).resolve().parents[2] / "shared"

settings.register_profile("minicnn", deadline=None, max_examples=40, derandomize=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("minicnn")


def pytest_configure(config):
    """Without the JIT the kernels' 64-bit hashes wrap around as NumPy scalars, which warns where compiled code does not."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        sys.setswitchinterval(5e-5)         # the simulator's threads wait for one another at every barrier
    if "1" in (os.environ.get("NUMBA_DISABLE_JIT"), os.environ.get("NUMBA_ENABLE_CUDASIM")):
        config.addinivalue_line("filterwarnings", "ignore:overflow encountered:RuntimeWarning")


@pytest.fixture(autouse=True)
def no_leaks():
    """Each test starts from seed 0, on one thread where several workers share the cores, and must leave recording on and
    nobody watching."""
    minicnn.seed(0)
    with threads.num_threads(1) if "PYTEST_XDIST_WORKER" in os.environ else contextlib.nullcontext():
        yield
    assert autograd._mode.recording, "a test left no_grad on"
    assert not autograd._mode.observers, "a test left an observer behind"
    assert set(random.get_state()) == {"seed", "count"}


@pytest.fixture
def rng():
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where MINICNN_REQUIRE_SHARED is set (CI), a skip because shared data is missing is a failure."""
    report = (yield).get_result()
    if os.environ.get("MINICNN_REQUIRE_SHARED") and report.skipped and "shared data not found" in str(report.longrepr):
        report.outcome, report.longrepr = "failed", f"MINICNN_REQUIRE_SHARED is set, but: {report.longrepr[-1]}"
