"""A loss or gradient that is not finite stops training and names where it began."""

import numpy as np
import pytest

from minicnn import autograd, nn, ops
from minicnn.autograd import Op
from minicnn.errors import TrainingError


def test_weights_that_are_nan_name_their_layer(tiny):
    trainer = tiny.build()
    trainer.model.conv.weight.data[1, 0, 2, 2] = np.nan
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 1, batch 1: .* in the output of conv \(Conv2d\), "
                                            r"operation Conv2d: 320 NaN of 1280 values \(already in its input 1, a weight"):
        trainer.run()


def test_an_overflow_names_the_layer_where_it_happens(tiny):
    trainer = tiny.build()
    trainer.model.fc.weight.data *= np.float32(1e38)
    trainer.model.bn.weight.data *= np.float32(1e10)
    with pytest.raises(TrainingError, match=r"the output of fc \(Linear\).*its inputs are finite and reach"):
        trainer.run()


class _BadBackward(Op):
    def forward(self, x):
        return x * 1

    def backward(self, gy):
        return gy * np.float32(np.inf)


class _Bad(nn.Module):
    def forward(self, x):
        return autograd.apply(_BadBackward(), x)


def test_a_gradient_names_its_layer_before_any_weight_is_changed(tiny):
    trainer = tiny.build()
    trainer.model.dropout = _Bad()
    before = {name: array.copy() for name, array in trainer.model.state_dict().items()}
    with pytest.raises(TrainingError, match=r"a gradient is not finite .* the gradient of dropout \(_Bad\), operation "
                                            r"_BadBackward.*choose a learning rate below 0.01, clip"):
        trainer.run()
    assert (trainer.model.conv.weight.data == before["conv.weight"]).all()


def test_images_are_looked_at_first(tiny):
    trainer = tiny.build()

    def spoilt(images, rng=None):
        return np.full((1, 8, 8), np.nan, np.float32)
    trainer.train_loader.transform = spoilt
    with pytest.raises(TrainingError, match="the images themselves hold 1280 NaN"):
        trainer.run()


def test_a_learning_rate_far_too_high_ends_in_a_training_error(tiny):
    with pytest.raises(TrainingError, match="choose a learning rate below"):
        tiny.build(lr=1e30, epochs=20).run()


def test_large_gradients_that_are_finite_go_on(tiny):
    """Their squares overflow in float32."""
    class Scaled(tiny.TinyNet):
        def loss(self, output, labels, label_smoothing=0.0):
            return ops.cross_entropy(output, labels, label_smoothing) * 1e25
    trainer = tiny.build(model=Scaled(), lr=0.0, epochs=1)
    assert np.isfinite(trainer.run()[0]["train_loss"])
