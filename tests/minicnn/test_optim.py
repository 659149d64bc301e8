"""SGD and the schedules against figures that PyTorch 2.13 computed for the same numbers."""

import numpy as np
import pytest

import kernels
from minicnn import optim
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.nn import Parameter

GRADIENTS = [[0.5, -1, 2], [1, 0.25, -0.5], [-2, 1, 0.125]]


@pytest.mark.parametrize(("options", "expected"), [
    ({}, [0.89, -1.945, 2.8475]),
    ({"momentum": 0.9}, [0.8189, -1.8433, 2.6441]),
    ({"momentum": 0.9, "nesterov": True}, [0.72701, -1.80397, 2.52719]),
    ({"momentum": 0.9, "weight_decay": 0.1}, [0.7856348, -1.7763196, 2.5443834]),
    ({"momentum": 0.8, "nesterov": True, "weight_decay": 0.05}, [0.7294625162, -1.7839960324, 2.5155192906]),
])
def test_sgd_as_pytorch(options, expected):
    """torch.optim.SGD: three steps at lr 0.1, 0.1 and 0.02."""
    w = Parameter(np.array([1.0, -2, 3]))
    sgd = optim.SGD([w], 0.1, **options)
    for i, gradient in enumerate(GRADIENTS):
        sgd.lr = 0.02 if i == 2 else 0.1
        w.grad = np.array(gradient)
        sgd.step()
    np.testing.assert_allclose(w.data, expected, rtol=1e-12)
    np.testing.assert_array_equal(w.grad, GRADIENTS[2])         # the gradient itself is not touched


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_parameters_at_once_are_each_one_by_itself(dtype, momentum, nesterov, order, rng):
    """One larger than a piece, one that ends within a piece, a single value; the same array twice is moved twice."""
    shapes, numbers = ((40001,), (3, 5, 2), ()), (0.1, momentum, 0.01, nesterov)
    draw = lambda: [np.asarray(rng.standard_normal(shape), dtype, order=order) for shape in shapes]
    weights, gradients, velocities = draw(), draw(), draw()
    weights.append(weights[1]), gradients.append(gradients[0][:30].reshape(3, 5, 2)), velocities.append(draw()[1])
    alone = [w.copy() for w in weights[:3]]
    alone.append(alone[1])
    moved = [v.copy() for v in velocities]
    with kernels.using(sgd="reference"):
        for w, g, v in zip(alone, gradients, moved):
            kernels.sgd.step(w, g, v, *numbers)
    kernels.sgd.step_all(weights, gradients, velocities, *numbers)
    for found, expected in zip(weights + velocities, alone + moved, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6)


def test_sgd_stays_float32_and_skips_what_has_no_gradient():
    w, other = Parameter(np.ones(2, np.float32)), Parameter(np.ones(2, np.float32))
    sgd = optim.SGD([w, other], np.float64(0.1), 0.9, 1e-4, nesterov=True)
    for _ in range(2):
        w.grad = np.ones(2, np.float32)
        sgd.step()
    assert w.dtype == sgd.velocities[0].dtype == np.float32
    assert sgd.velocities[1] is None
    np.testing.assert_array_equal(other.data, 1)
    sgd.zero_grad()
    assert w.grad is None


def test_sgd_resumes():
    def steps(w, sgd, gradients):
        for gradient in gradients:
            w.grad = np.array(gradient)
            sgd.step()
    a = Parameter(np.array([1.0, -2, 3]))
    one = optim.SGD([a], 0.1, 0.9, 0.01)
    steps(a, one, GRADIENTS[:2])
    b = Parameter(a.data.copy())
    two = optim.SGD([b], 9.0)
    two.load_state_dict(one.state_dict())
    steps(a, one, GRADIENTS[2:])
    steps(b, two, GRADIENTS[2:])
    np.testing.assert_array_equal(a.data, b.data)
    with pytest.raises(CheckpointError, match="1 velocities whose shapes do not fit the 2 parameters"):
        optim.SGD([a, b], 0.1).load_state_dict(one.state_dict())


@pytest.mark.parametrize(("arguments", "message"), [
    (([], 0.1), "no parameters given; pass model.parameters"),
    (([Parameter(np.ones(1))], -1), "lr -1 is negative or not a number"),
    (([Parameter(np.ones(1))], float("nan")), "lr nan is negative or not a number"),
    (([Parameter(np.ones(1))], 1, -0.1), "momentum -0.1 is negative"),
    (([Parameter(np.ones(1))], 1, 0.1, -1), "weight_decay -1 is negative"),
    (([Parameter(np.ones(1))], 1, 0, 0, True), "nesterov needs a momentum above 0"),
])
def test_sgd_messages(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        optim.SGD(*arguments)


def optimizer():
    return optim.SGD([Parameter(np.zeros(1))], 0.5)


METRICS = [1.0, 0.9, 0.95, 0.9, 0.91, 0.89999, 0.8, 0.85, 0.85, 0.85, 0.85]
SCHEDULES = {   # each with the learning rates of torch.optim.lr_scheduler after every step
    "Step": (lambda o: optim.Step(o, 3), [0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005]),
    "MultiStep": (lambda o: optim.MultiStep(o, [2, 5], 0.2), [0.5, 0.1, 0.1, 0.1, 0.02, 0.02, 0.02]),
    "Cosine": (lambda o: optim.Cosine(o, 6, 0.05), [0.4698557158514987, 0.3875, 0.275, 0.1625, 0.0801442841485013, 0.05]),
    "Plateau": (lambda o: optim.Plateau(o, 0.1, 2), [0.5] * 4 + [0.05] * 5 + [0.005] * 2),
    "WarmUp": (lambda o: optim.WarmUp(o, 4, 0.1), [0.1625, 0.275, 0.3875, 0.5, 0.5, 0.5]),
    "WarmUp then MultiStep": (lambda o: optim.WarmUp(o, 2, 0.1, optim.MultiStep(o, [1, 3])),
                              [0.275, 0.5, 0.05, 0.05, 0.005, 0.005]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_as_pytorch(name):
    make, expected = SCHEDULES[name]
    o = optimizer()
    schedule = make(o)
    for i, lr in enumerate(expected):
        schedule.step(METRICS[i])
        assert o.lr == pytest.approx(lr, rel=1e-12)


def test_warm_up_starts_low():
    o = optimizer()
    optim.WarmUp(o, 4, 0.1)
    assert o.lr == 0.05


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_resume(name):
    """Stop after every step in turn, load the state into a new schedule, and go on to the same end."""
    make, expected = SCHEDULES[name]
    for stop in range(1, len(expected)):
        one = make(optimizer())
        for i in range(stop):
            one.step(METRICS[i])
        o = optimizer()
        two = make(o)
        two.load_state_dict(one.state_dict())
        assert o.lr == pytest.approx(expected[stop - 1], rel=1e-12)
        for i in range(stop, len(expected)):
            two.step(METRICS[i])
        assert o.lr == pytest.approx(expected[-1], rel=1e-12)


def test_plateau_watches_accuracies_too():
    o = optimizer()
    schedule = optim.Plateau(o, 0.1, 0, "max")
    for metric, lr in ((0.5, 0.5), (0.6, 0.5), (0.6, 0.05)):
        schedule.step(metric)
        assert o.lr == pytest.approx(lr)


@pytest.mark.parametrize(("call", "message"), [
    (lambda o: optim.Step(o, 0), "Step: size 0 is less than 1"),
    (lambda o: optim.MultiStep(o, [5, 2]), r"milestones \[5, 2\] are not in rising order"),
    (lambda o: optim.Cosine(o, 0), "total 0 is less than 1"),
    (lambda o: optim.Plateau(o, mode="best"), "mode 'best' is not 'min' or 'max'"),
    (lambda o: optim.Plateau(o).step(), "needs the metric to watch"),
    (lambda o: optim.WarmUp(o, 0), "steps 0 is less than 1"),
])
def test_schedule_messages(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(optimizer())
