"""Every registered model runs forward and backward at its smallest input, with a finite gradient on every parameter."""

import numpy as np
import pytest

from minicnn import Tensor, models, ops, random


def size(name):
    """Slow are the models of many parameters or layers."""
    info = models.info(name)
    slow = info.params > 20_000_000 or info.depth > 160
    return pytest.param(name, marks=pytest.mark.slow) if slow else name


@pytest.mark.parametrize("name", [size(name) for name in models.names()])
def test_forward_and_backward(name, rng):
    info = models.info(name)
    model = models.create(name)
    # Batch norm of two values a channel amplifies rounding by up to 1/√eps a layer: 1x1 maps need a larger batch.
    batch = 2 if info.smallest > 1 else 16
    x = rng.standard_normal((batch, 3, info.smallest, info.smallest)).astype("float32")
    labels = np.arange(batch) % 10
    for seed in range(20):          # stochastic depth and drop-path leave parameters out of a mini-batch
        random.seed(seed)
        output = model(Tensor(x))
        loss = model.loss(output, labels) if hasattr(model, "loss") else ops.cross_entropy(output, labels)
        loss.backward()
        if all(p.grad is not None for p in model.parameters()):
            break
    assert np.isfinite(loss.item())
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.dtype == np.float32, key
        assert np.isfinite(parameter.grad).all(), key
