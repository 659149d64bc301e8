"""Every op of op_cases.py on the GPU against the readable rung on the CPU. `make test-cuda-sim` runs this in Numba's simulator."""

import numpy as np
import pytest
from op_cases import CASES
from support import central_differences, close, run_with_gradients, value

import kernels
from kernels import device
from minicnn import ops

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not device.available(), reason=f"no GPU: {device.why_not()}")]
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def on_device(run):
    """The op with its inputs moved to the GPU and its output moved back."""
    return lambda *tensors: ops.to(run(*[ops.to(t, "cuda") for t in tensors]), "cpu")


def inputs(case, rng, dtype):
    return [case.values(rng, shape).astype(dtype) for shape in case.shapes]


@pytest.mark.parametrize("dtype", TOLERANCE)
@every_case
def test_agrees_with_reference(case, dtype, rng):
    arrays = inputs(case, rng, dtype)
    before = [a.copy() for a in arrays]
    with kernels.using(**{case.room: "reference"} if case.room else {}):
        y, gradients = run_with_gradients(case.run, arrays)
    y_device, gradients_device = run_with_gradients(on_device(case.run), arrays)
    for actual, expected in zip([y_device, *gradients_device], [y, *gradients]):
        assert actual.dtype == dtype
        close(actual, expected, TOLERANCE[dtype])
    for array, copy in zip(arrays, before):
        np.testing.assert_array_equal(array, copy)
