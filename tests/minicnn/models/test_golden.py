"""Whole models against torchvision's logits and gradients, computed in float64.

golden/formula.py rebuilds the weights from their names. golden/golden.npz holds for each model: eval, train (logits), params
(names in order), grads (norm and projection of each parameter's gradient), for GoogLeNet aux1 and aux2.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from minicnn import Tensor, models, nn, no_grad, ops

FOLDER = Path(__file__).with_name("golden")
QUICK = ("resnet18", "squeezenet1_0", "squeezenet1_1")
SLOW = ("alexnet_owt", "vgg11", "vgg16_bn", "googlenet_bn", "resnet50", "resnet152", "wide_resnet50_2",
        "resnext50_32x4d", "densenet121")
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
GOLDEN_NAMES = {"alexnet_owt": "alexnet", "googlenet_bn": "googlenet"}


def load_formula():
    spec = importlib.util.spec_from_file_location("golden_formula", FOLDER / "formula.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


formula = load_formula()


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "golden.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def filled(name):
    """The model with the formula's weights, in float64, dropout off."""
    model = models.create(name).astype("float64")
    model.load_state_dict({key: formula.parameter(key, value.shape) for key, value in model.state_dict().items()})
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def close_to(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def check_training(model, x, golden, key):
    """Training logits; returns the golden loss."""
    v = formula.cotangent((2, 1000))
    output = model(x)
    if not isinstance(output, tuple):
        close_to(output.data, golden[f"{key}/train"])
        return ops.sum(output * v)
    close_to(output.logits.data, golden[f"{key}/train"])
    close_to(output.aux_logits1.data, golden[f"{key}/aux1"])
    close_to(output.aux_logits2.data, golden[f"{key}/aux2"])
    return ops.sum(output.logits * v) + 0.3 * ops.sum(output.aux_logits1 * v) + 0.3 * ops.sum(output.aux_logits2 * v)


def check_gradients(model, grads, batch_norm):
    """Norm and projection of each gradient. A convolution's bias before batch norm has gradient 0: there the model's
    largest gradient is the measure."""
    largest = grads[:, 0].max()
    for (name, parameter), (norm, projection) in zip(model.named_parameters(), grads):
        before_batch_norm = batch_norm and name.endswith("bias") and norm < 1e-9 * largest
        scale = largest if before_batch_norm else norm
        assert abs(np.linalg.norm(parameter.grad) - norm) <= 1e-7 * scale, name
        assert abs((parameter.grad * formula.probe(name, parameter.shape)).sum() - projection) <= 1e-7 * scale, name


@pytest.mark.parametrize("name", NAMES)
def test_golden(name, golden):
    key = GOLDEN_NAMES.get(name, name)
    model = filled(name)
    assert [n for n, _ in model.named_parameters()] == list(golden[f"{key}/params"])
    x = Tensor(formula.images())
    with no_grad():
        close_to(model.eval()(x).data, golden[f"{key}/eval"])
    check_training(model.train(), x, golden, key).backward()
    batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    check_gradients(model, golden[f"{key}/grads"], batch_norm)


def test_every_golden_model_is_checked(golden):
    tested = {GOLDEN_NAMES.get(name, name) for name in (*QUICK, *SLOW)}
    assert tested == {key.split("/")[0] for key in golden}
