"""Tasks that threads share out: each is taken once, whoever is slow."""

import numpy as np
import pytest
from numba import prange

from kernels import threads
from kernels.compiling import njit
from kernels.sharing import END, NEXT, empty_queues, equal_queues, next_task


@njit(parallel=True)
def _take_all(queues, slow, taken):
    """taken[task, worker] += 1 for each task that a worker gets; worker 0 spends `slow` steps on each."""
    for worker in prange(queues.shape[0]):
        task = next_task(queues, worker)
        while task >= 0:
            for step in range(slow if worker == 0 else 1):
                taken[task, worker] += step == 0
            task = next_task(queues, worker)


@pytest.mark.parametrize("tasks", [0, 1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_task_is_taken_once(tasks, workers):
    taken = np.zeros((max(1, tasks), workers), np.int64)
    with threads.num_threads(min(workers, threads.most())):
        _take_all(equal_queues(tasks, workers), 300, taken)
    np.testing.assert_array_equal(taken[:tasks].sum(1), np.ones(tasks))


def test_own_tasks_come_first_and_in_order_then_the_others():
    queues = empty_queues(3)
    for worker, (first, end) in enumerate(((0, 2), (2, 2), (2, 5))):
        queues[worker, NEXT], queues[worker, END] = first, end
    assert [next_task(queues, worker) for worker in (2, 0, 1, 1, 0, 0, 2)] == [2, 0, 3, 4, 1, -1, -1]


def test_equal_queues_hold_every_task_and_differ_by_one_at_most():
    queues = equal_queues(11, 4)
    assert (queues[0, NEXT], queues[-1, END]) == (0, 11)
    np.testing.assert_array_equal(queues[1:, NEXT], queues[:-1, END])
    assert set(queues[:, END] - queues[:, NEXT]) == {2, 3}
