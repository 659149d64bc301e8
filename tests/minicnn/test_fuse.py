"""Models made ready for inference: the same answers, and no trace left when training goes on."""

import numpy as np
import pytest

from minicnn import Tensor, models, nn, no_grad, random

SMALL = {"resnet20": 32, "preact_resnet110": 8, "wrn_16_8": 8, "densenet_bc_100_12": 8, "googlenet_bn": 64, "squeezenet1_1": 64,
         "fractalnet20": 32, "vgg11_bn": 32, "resnext29_8x64d": 8}


def settled(name):
    """A model in float64 whose running statistics are not those it was made with."""
    random.seed(3)
    model = models.create(name).astype("float64")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            rng = np.random.default_rng(module.num_features)
            module.running_mean[...] = rng.standard_normal(module.num_features) * 0.1
            module.running_var[...] = rng.uniform(0.5, 2, module.num_features)
            module.weight.data[...] = rng.uniform(0.5, 1.5, module.num_features)
            module.bias.data[...] = rng.standard_normal(module.num_features) * 0.1
    return model


def logits(model, x):
    with no_grad():
        y = model(Tensor(x))
    return (y[0] if isinstance(y, tuple) else y).data


@pytest.mark.parametrize("name", SMALL)
def test_fused_models_give_the_same_answers(name, rng):
    model = settled(name).eval()
    x = rng.standard_normal((2, 3, SMALL[name], SMALL[name]))
    expected = logits(model, x)
    assert model.fuse() is model
    for _ in range(2):                  # the second time from kept weights
        np.testing.assert_allclose(logits(model, x), expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


def test_training_undoes_it_and_sees_new_weights(rng):
    model, x = settled("resnet20"), rng.standard_normal((2, 3, 16, 16))
    model.fuse()
    before = logits(model, x)
    model.train()
    assert all(module.fused is None for module in model.modules() if isinstance(module, nn.Conv2d))
    model.conv1.weight.data *= 2
    after = logits(model.eval(), x)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(logits(model.fuse(), x), after, rtol=1e-8, atol=1e-9)


def test_loading_weights_and_converting_undo_it(rng):
    model, x = settled("resnet20").fuse(), rng.standard_normal((1, 3, 16, 16))
    logits(model, x)
    state = {name: array * 1.1 for name, array in model.state_dict().items() if array.dtype.kind == "f"}
    model.load_state_dict(state, strict=False)
    assert model.conv1.fused is None
    model.fuse().astype("float32")
    assert logits(model, x.astype(np.float32)).dtype == np.float32


def test_kept_weights_go_with_the_model(rng):
    from kernels.conv2d import packing
    model = settled("resnet20").fuse()
    logits(model, rng.standard_normal((1, 3, 8, 8)))
    assert packing._kept
    del model
    import gc
    gc.collect()
    assert not packing._kept
