"""What check says of single functions: each verdict with its reason, inputs of every kind, and the form of the report."""

import json

import numpy as np
import pytest

from kernels import threads
from minicnn import Tensor, gradcheck, nn, ops, random
from minicnn.autograd import Op, apply
from minicnn.errors import ArgumentError
from minicnn.gradcheck import Verdict


class Absolute(Op):
    """|x| with `slope` at 0."""

    def __init__(self, slope):
        self.slope = slope

    def forward(self, x):
        self.x = x
        return np.abs(x)

    def backward(self, gy):
        return gy * np.where(self.x == 0, self.slope, np.sign(self.x))


@pytest.mark.parametrize(("slope", "verdict"), [(0.0, Verdict.KINK), (1.0, Verdict.KINK), (-0.3, Verdict.KINK),
                                                (1.5, Verdict.KINK_INVALID), (-2.0, Verdict.KINK_INVALID)])
def test_absolute_value_at_zero(slope, verdict):
    report = gradcheck.check(lambda x: apply(Absolute(slope), x), np.array([0.0, 1.0, -2.0]))
    assert report.results[0].verdict == verdict
    assert bool(report) == (verdict == Verdict.KINK)
    assert "one-sided slopes" in report.results[0].reason


def test_relu_at_zero_and_pooling_ties_are_kinks_with_valid_subgradients():
    assert gradcheck.check(ops.relu, np.array([0.0, 1.0])).results[0].verdict == Verdict.KINK
    tied = gradcheck.check(lambda x: ops.max_pool2d(x, 2), np.ones((1, 1, 2, 4)))
    assert tied.results[0].verdict == Verdict.KINK
    assert "8 of 8 elements" in tied.results[0].reason


def test_a_wrong_gradient_names_input_index_and_both_values(rng):
    class Wrong(Op):
        def forward(self, x, weight):
            self.x, self.weight = x, weight
            return x * weight

        def backward(self, gy):
            g = gy * self.x
            g[1, 2] *= 3
            return gy * self.weight, g

    report = gradcheck.check(lambda x, weight: apply(Wrong(), x, weight), [rng.standard_normal((2, 3)) for _ in range(2)])
    failure, = report.failures
    assert (failure.name, failure.verdict, failure.index) == ("weight", Verdict.WRONG, (1, 2))
    assert failure.ratio == pytest.approx(3)
    assert failure.analytic == pytest.approx(3 * failure.numeric)
    assert failure.error < 1e-6
    assert np.argmax(failure.error_map) == 5
    assert "weight: wrong at [1, 2]: backward gives" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["results"][1]["index"] == [1, 2]


def test_float32_is_not_checkable(rng):
    report = gradcheck.check(ops.exp, rng.standard_normal(3).astype("float32"))
    assert not report
    assert report.results[0].verdict == Verdict.NOT_CHECKABLE
    assert "not float64: x has dtype float32" in str(report)


def test_nan_is_not_checkable():
    report = gradcheck.check(ops.log, np.array([1.0, -1.0]))
    assert report.results[0].verdict == Verdict.NOT_CHECKABLE
    assert "the output at (1,) is nan; choose inputs inside the domain" in str(report)


def test_a_function_that_draws_its_own_random_numbers_is_not_checkable(rng):
    report = gradcheck.check(lambda x: x * Tensor(rng.standard_normal(3)), np.ones(3))
    assert report.results[0].verdict == Verdict.NOT_CHECKABLE
    assert "two forward passes on the same input differ" in str(report)


def test_noise_in_the_forward_pass_cannot_tell(rng):
    """Values rounded to float32 move in jumps: no step is small enough and large enough."""
    class Rounded(Op):
        def forward(self, x):
            return np.sin(x).astype("float32").astype("float64")

        def backward(self, gy):
            return gy * np.cos(self.x) if hasattr(self, "x") else gy * 0.5

    report = gradcheck.check(lambda x: apply(Rounded(), x), np.array([1.0471975511965976]))
    assert report.results[0].verdict in (Verdict.CANNOT_TELL, Verdict.WRONG)
    assert not report


def test_the_edge_of_the_domain_cannot_tell():
    report = gradcheck.check(lambda x: x ** 1.5, np.array([0.0, 1.0]))
    assert report.results[0].verdict == Verdict.CANNOT_TELL
    assert "defined on one side only" in str(report)


def test_numpy_pair(rng):
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    report = gradcheck.check((lambda x, w: x @ w, lambda gy, x, w: (gy @ w.T, x.T @ gy)), {"x": x, "w": w})
    assert report, report
    wrong = gradcheck.check((lambda x, w: x @ w, lambda gy, x, w: (gy @ w.T, 2 * x.T @ gy)), {"x": x, "w": w})
    assert [(f.name, f.kind) for f in wrong.failures] == [("w", "constant factor")]


def test_numpy_pair_with_a_cache_and_labels(rng):
    def forward(x, labels):
        p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
        return -np.log(p[np.arange(len(x)), labels]).mean(), (p, labels)

    def backward(gy, cache):
        p, labels = cache
        g = p.copy()
        g[np.arange(len(p)), labels] -= 1
        return gy * g / len(p)

    report = gradcheck.check((forward, backward), [rng.standard_normal((3, 4)), np.array([0, 3, 1])])
    assert report, report


def test_complex_step_makes_the_numeric_side_exact_and_is_not_trusted_with_abs(rng):
    exact = gradcheck.check((lambda x: np.exp(x), lambda gy, x: gy * np.exp(x)), rng.standard_normal(4))
    assert exact
    assert exact.results[0].error < 1e-12
    assert gradcheck.check((lambda x: np.abs(x) ** 2, lambda gy, x: gy * 2 * x), rng.standard_normal(4))


def test_numpy_faults(rng):
    def in_place(x):
        x *= 2
        return x.copy()

    kinds = {f.kind for f in gradcheck.check((in_place, lambda gy, x: 2 * gy), rng.standard_normal(3)).failures}
    assert "input mutated" in kinds
    alias = gradcheck.check((lambda x: x, lambda gy, x: gy.copy()), rng.standard_normal(3))
    assert [f.kind for f in alias.failures] == ["output aliases input"]
    shape = gradcheck.check((lambda x, b: x + b, lambda gy, x, b: (gy.copy(), gy.copy())),
                            [rng.standard_normal((2, 3)), rng.standard_normal(3)])
    assert "gradient of b has shape (2, 3), not (3,); sum over the axes that were broadcast" in str(shape)
    few = gradcheck.check((lambda x, b: x + b, lambda gy, x, b: gy.copy()), [rng.standard_normal(3) for _ in range(2)])
    assert "backward returned 1 gradients for 2 inputs" in str(few)


def changes_x_in_backward(gy, x):
    x *= 2
    return 2 * gy


def changes_gy(gy, x):
    gy *= 2
    return gy


DRAW, BUFFER, LAST = np.random.default_rng(0), np.empty((3, 4)), [None]


def noisy(gy, x):
    """Right to nine digits, but never twice the same."""
    return 2 * gy * (1 + 1e-9 * DRAW.standard_normal(gy.shape))


def into_one_buffer(x):
    return np.multiply(x, 2, out=BUFFER)


def keeps_x(x):
    LAST[0] = x
    return x * x, LAST


@pytest.mark.parametrize(("forward", "backward", "kind", "text"), [
    (lambda x: 2 * x, changes_x_in_backward, "input mutated", "backward changes x in place; work on a copy"),
    (lambda x: 2 * x, changes_gy, "upstream mutated", "backward changes the upstream gradient in place"),
    (lambda x: 2 * x, lambda gy, x: (2 * gy).astype("float32"), "gradient dtype", "has dtype float32, not float64"),
    (lambda x: 2 * x, lambda gy, x: (2 * gy).T.copy(), "gradient shape", r"has shape (4, 3), not (3, 4); transpose it"),
    (lambda x: 2 * x, noisy, "non-deterministic", "two backward passes on the same input differ"),
    (into_one_buffer, lambda gy, x: 2 * gy, "output overwritten", "a buffer is used again"),
    (keeps_x, lambda gy, last: 2 * gy * last[0], "stale buffer", "keep it for each call"),
    (lambda x: 2 * x, lambda gy, x: 2 * np.clip(gy, -9, 9), "not linear", "not proportional to the upstream gradient"),
])
def test_faults_that_no_difference_shows(forward, backward, kind, text, rng):
    report = gradcheck.check((forward, backward), {"x": rng.standard_normal((3, 4))})
    assert kind in {failure.kind for failure in report.failures}, report
    assert text in str(report)


def test_a_backward_that_raises_is_reported_not_raised(rng):
    def backward(gy, x):
        raise RuntimeError("not written yet")
    report = gradcheck.check((np.exp, backward), rng.standard_normal(3))
    assert not report
    assert "backward raises RuntimeError: not written yet" in str(report)


def test_a_reference_catches_a_wrong_forward_with_its_own_right_backward(rng):
    report = gradcheck.check(lambda x: x * x, rng.standard_normal(3), reference=lambda x: x ** 3)
    assert [f.kind for f in report.failures] == ["wrong forward"]
    assert "the reference function gives" in str(report)


def test_a_wrong_rung_is_caught_by_the_reference_rung(rng, monkeypatch):
    from kernels.activation import cpu
    monkeypatch.setattr(cpu, "relu_forward", lambda x: np.maximum(x, -0.1))
    report = gradcheck.check(ops.relu, rng.standard_normal((3, 4)))
    assert "wrong forward" in {f.kind for f in report.failures}


def test_assert_gradients(rng):
    assert gradcheck.assert_gradients(ops.exp, rng.standard_normal(3))
    with pytest.raises(AssertionError, match="gradients are not right\nx: wrong at"):
        gradcheck.assert_gradients((np.exp, lambda gy, x: gy), rng.standard_normal(3))


def test_what_cannot_be_called():
    with pytest.raises(ArgumentError, match="neither a function of tensors nor a pair"):
        gradcheck.check(3, np.ones(2))
    with pytest.raises(ArgumentError, match="returned ndarray, not a Tensor"):
        gradcheck.check(lambda x: np.asarray(x), np.ones(2))


@pytest.mark.skipif(threads.most() < 2, reason="one core has one thread")
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_what_depends_on_the_number_of_threads_is_a_fault(where, rng):
    """By the last bits alone, as a sum that is cut into one part a thread: far below what differences see."""
    def rounding(direction):
        return 1 + 2.0 ** -50 * threads.get_num_threads() if direction == where else 1.0

    class Double(Op):
        def forward(self, x):
            return 2 * x * rounding("forward")

        def backward(self, gy):
            return 2 * gy * rounding("backward")

    with threads.num_threads(2):
        report = gradcheck.check(lambda x: apply(Double(), x), rng.standard_normal((3, 4)))
    assert [f.kind for f in report.failures] == ["depends on threads"]
    assert "1 thread and 2 give different results; cut every sum in the same way" in str(report)


def test_right_at_the_first_input_and_wrong_at_another(rng):
    class Remembers(Op):
        """Squares; the gradient is wrong where the largest value is not the one of the first input."""

        def forward(self, x):
            self.x = x
            return x * x

        def backward(self, gy):
            return 2 * gy * self.x * (1 if self.x.max() == largest else 1.5)

    x = rng.standard_normal((3, 4))
    largest = x.max()
    # Backward runs at the first input alone, until everything there is right.
    failure, = gradcheck.check(lambda x: apply(Remembers(), x), x).failures
    assert failure.reason == "at a second input, after the first was right"


def test_random_state_is_left_alone_and_dropout_draws_the_same_mask_each_time(rng):
    before = random.get_state()
    assert gradcheck.check(lambda x: ops.dropout(x, 0.5), rng.standard_normal((3, 4)))
    assert random.get_state() == before


def test_a_layer_is_checked_with_its_parameters_and_left_as_it_was(rng):
    layer = nn.BatchNorm2d(3).astype("float64")
    layer.weight.grad = np.ones(3)
    state = {name: array.copy() for name, array in layer.state_dict().items()}
    report = gradcheck.check(layer, rng.standard_normal((2, 3, 2, 2)))
    assert report, report
    assert [result.name for result in report.results] == ["x", "weight", "bias"]
    assert all(np.array_equal(array, state[name]) for name, array in layer.state_dict().items())
    assert np.array_equal(layer.weight.grad, np.ones(3))


def test_buffers_that_change_in_evaluation_are_a_fault(rng):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", np.zeros(()))

        def forward(self, x):
            self.calls += 1
            return ops.exp(x)

    report = gradcheck.check(Counting().eval(), rng.standard_normal(3))
    assert [f.kind for f in report.failures] == ["buffers changed"]
    assert "calls changes in evaluation mode" in str(report)


def test_repeatable(rng):
    x = rng.standard_normal((2, 3))
    first, second = (gradcheck.check(lambda x: ops.exp(x) * x, x) for _ in range(2))
    assert [r.to_dict() for r in first.results] == [r.to_dict() for r in second.results]
