"""Gradients against finite differences, in float64: for ops, layers, models and plain NumPy functions.

    report = gradcheck.check(function, inputs)      # function(*tensors) -> tensor
    report = gradcheck.check_model(model, x)
    bool(report), print(report), report.failures
    gradcheck.assert_gradients(function, inputs)    # in a test
"""

from minicnn.gradcheck.check import assert_gradients, check
from minicnn.gradcheck.model import check_model
from minicnn.gradcheck.verdict import Verdict

__all__ = ["Verdict", "assert_gradients", "check", "check_model"]
