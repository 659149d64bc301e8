"""Thread counts are checked, and the two hazards of Numba's threading layers are met by an error or a lock."""

import multiprocessing
import os
import threading

import numpy as np
import pytest

import kernels
from kernels import threads
from kernels.errors import BackendError

pytestmark = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is threaded without the JIT")


def test_counts_are_checked():
    for count in (0, 10 ** 6):
        with pytest.raises(BackendError, match=f"{count} threads asked for, 1 to .* can be had"):
            threads.set_num_threads(count)
    before = threads.get_num_threads()
    with threads.num_threads(1):
        assert threads.get_num_threads() == 1
    assert threads.get_num_threads() == before


def relu_in_child(queue):
    try:
        queue.put(float(kernels.activation.relu_forward(np.ones(10, np.float32)).sum()))
    except BackendError as error:
        queue.put(str(error))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_gets_an_error_or_an_answer():
    """GNU OpenMP would kill the child; it must say so instead (other layers just work)."""
    kernels.activation.relu_forward(np.ones(10, np.float32))
    threads.layer()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=relu_in_child, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    answer = queue.get()
    assert answer == 10 or "forked after GNU OpenMP" in answer


def test_concurrent_calls_survive(monkeypatch):
    """On the workqueue layer calls take turns: as many threads as one likes may call."""
    monkeypatch.setitem(threads._state, "layer", "workqueue")
    results = []

    def work():
        results.extend(kernels.activation.relu_forward(np.full(1000, i, np.float32)).sum() for i in range(50))
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 200
    assert sorted(results) == sorted(float(1000 * i) for i in range(50) for _ in range(4))
