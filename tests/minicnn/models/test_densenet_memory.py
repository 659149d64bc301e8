"""DenseNet's memory-efficient form: the same numbers from fewer kept arrays."""

import numpy as np
from support import upstream

import minicnn
from minicnn import Tensor, models
from minicnn.autograd import _outputs_first


def training_step(memory_efficient):
    minicnn.seed(3)
    model = models.create("densenet_40_12", depth=13, growth=4, memory_efficient=memory_efficient).astype("float64")
    y = model(Tensor(np.random.default_rng(0).standard_normal((3, 3, 8, 8))))
    kept = sum(1 for _ in _outputs_first(y))
    y.backward(upstream(y.shape))
    return y.data, {name: p.grad for name, p in model.named_parameters()}, dict(model.named_buffers()), kept


def test_the_same_numbers_with_fewer_arrays_kept():
    y, gradients, buffers, kept = training_step(False)
    y_again, gradients_again, buffers_again, kept_again = training_step(True)
    np.testing.assert_allclose(y_again, y, rtol=1e-12)
    assert gradients.keys() == gradients_again.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradients_again[name], gradient, rtol=1e-12, atol=1e-12 * abs(gradient).max())
    for name, buffer in buffers.items():
        np.testing.assert_allclose(buffers_again[name], buffer, rtol=1e-12, atol=1e-14)     # moved once, not twice
    assert kept_again < kept - 20
