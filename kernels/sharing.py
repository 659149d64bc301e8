"""Tasks that threads share out: each has a queue of its own, and takes from the others' when that is empty.

Cores are not equally fast: another program, or whatever else runs on the other half of a core, holds up one of them, and at the
end of equal shares the others would wait for it. A queue is a run of tasks, one behind the other, so that a thread goes through
memory in order as long as it has work of its own. What a task computes does not depend on who takes it, nor do results.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.compiling import njit
from kernels.streaming import LINE

NEXT, END = 0, 1        # columns of the queues: the first task that nobody has taken, one past the last


@njit(cache=True)
def empty_queues(workers):
    """(workers, ·) int64, a line of memory to each: no tasks."""
    return np.zeros((workers, LINE // 8), np.int64)


@njit(cache=True)
def equal_queues(tasks, workers):
    """Tasks 0, 1, …, as many to each queue."""
    queues = empty_queues(workers)
    for worker in range(workers):
        queues[worker, NEXT], queues[worker, END] = tasks * worker // workers, tasks * (worker + 1) // workers
    return queues


@intrinsic
def _take(typing_context, queues, row):
    """_take(queues, row): queues[row, NEXT] += 1, in one step for all threads -> what it was."""
    def codegen(context, builder, signature, arguments):
        array = context.make_array(queues)(context, builder, arguments[0])
        place = cgutils.get_item_pointer(context, builder, queues, array, [arguments[1], ir.Constant(ir.IntType(64), NEXT)])
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")
    return types.int64(queues, types.intp), codegen


@njit(cache=True)
def next_task(queues, worker):
    """The next task of a worker's own queue, or of the first behind it that has one; -1 when all are taken."""
    for turn in range(queues.shape[0]):
        row = (worker + turn) % queues.shape[0]
        if queues[row, NEXT] < queues[row, END]:        # a look costs less than to take
            task = _take(queues, row)
            if task < queues[row, END]:
                return task
    return -1


if config.DISABLE_JIT:
    from kernels.gemm import plain
    _take = plain.take
