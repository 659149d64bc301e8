"""DenseNet's memory-efficient form: the same numbers from fewer bytes kept."""

import tracemalloc

import numpy as np
from support import upstream

import minicnn
from minicnn import Tensor, models


def training_step(memory_efficient):
    minicnn.seed(3)
    model = models.create("densenet_40_12", depth=13, growth=4, memory_efficient=memory_efficient).astype("float64")
    x = Tensor(np.random.default_rng(0).standard_normal((3, 3, 32, 32)))
    tracemalloc.start()
    y = model(x)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    y.backward(upstream(y.shape))
    return y.data, {name: p.grad for name, p in model.named_parameters()}, dict(model.named_buffers()), kept


def test_the_same_numbers_from_fewer_bytes_kept():
    training_step(False), training_step(True)           # what is kept of compiled functions is none of the network's
    y, gradients, buffers, kept = training_step(False)
    y_again, gradients_again, buffers_again, kept_again = training_step(True)
    np.testing.assert_allclose(y_again, y, rtol=1e-12)
    assert gradients.keys() == gradients_again.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradients_again[name], gradient, rtol=1e-12, atol=1e-12 * abs(gradient).max())
    for name, buffer in buffers.items():
        np.testing.assert_allclose(buffers_again[name], buffer, rtol=1e-12, atol=1e-14)     # moved once, not twice
    assert kept_again < 0.7 * kept, (kept_again, kept)
