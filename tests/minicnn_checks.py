"""The checks of one case together, for tests that ask whether a bug would be seen."""

import numpy as np
from support import central_differences, close, run_with_gradients, value

import kernels


def check_case(case, rng):
    """Oracle, and finite differences with a random upstream gradient, in the readable rung and float64."""
    arrays = [case.values(rng, shape) for shape in case.shapes]
    with kernels.using(**{case.room: "reference"} if case.room else {}):
        close(value(case.run, arrays), np.asarray(case.oracle(*arrays)), 1e-12)
        y, gradients = run_with_gradients(case.run, arrays)
        gy = np.random.default_rng(1).standard_normal(y.shape)
        for i, gradient in enumerate(gradients):
            close(gradient, central_differences(case.run, arrays, i, gy), 1e-7)
