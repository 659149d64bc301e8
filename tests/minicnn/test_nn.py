"""Modules: names, state, modes; initial weights; every layer calls its op with its arguments."""

import contextlib
import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, autograd, nn, ops, random
from minicnn.errors import ArgumentError, CheckpointError, DTypeError, ShapeError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.tail = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))

    def forward(self, x):
        return self.tail(self.bn(self.conv(x)))


NAMES = ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
         "tail.2.weight", "tail.2.bias"]


def test_state_dict_names_are_torchvisions():
    model = Block()
    assert list(model.state_dict()) == NAMES
    assert [name for name, _ in model.named_parameters()] == [n for n in NAMES if "running" not in n and "num_b" not in n]
    assert [name for name, _ in model.named_modules()] == ["", "conv", "bn", "tail", "tail.0", "tail.1", "tail.2"]
    assert [name for name, _ in model.named_buffers()] == [n for n in NAMES if "running" in n or "num_b" in n]


def test_load_state_dict_copies_in_the_models_dtype():
    model, other = Block().astype("float64"), Block()
    state = {name: array.copy() for name, array in other.state_dict().items()}
    assert model.load_state_dict(state) == ([], [])
    assert model.conv.weight.dtype == np.float64
    np.testing.assert_array_equal(model.conv.weight.data, other.conv.weight.data)
    state["conv.weight"][:] = 0
    assert model.conv.weight.data.any()


def test_load_state_dict_lists_what_does_not_fit_and_changes_nothing():
    model = Block()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    state = {name: array + 1 for name, array in before.items()}
    del state["bn.bias"]
    state["extra"] = np.zeros(1)
    with pytest.raises(CheckpointError, match=r"1 missing \(bn.bias\); 1 unexpected \(extra\).*strict=False"):
        model.load_state_dict(state)
    state["tail.2.weight"] = np.zeros((3, 36))
    with pytest.raises(CheckpointError, match=r"1 mis-shaped \(tail.2.weight \(3, 36\) for \(2, 36\)\)"):
        model.load_state_dict(state, strict=False)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    del state["tail.2.weight"]
    assert model.load_state_dict(state, strict=False) == (["bn.bias", "tail.2.weight"], ["extra"])
    np.testing.assert_array_equal(model.bn.weight.data, before["bn.weight"] + 1)


def test_files_without_num_batches_tracked_load():
    state = Block().state_dict()
    del state["bn.num_batches_tracked"]
    Block().load_state_dict(state)


def test_modes_and_zero_grad():
    model = Block()
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert model.tail[0].training
    ops.sum(model(Tensor(np.ones((2, 3, 5, 5), np.float32)))).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_astype_converts_everything_that_floats():
    model = Block().astype("float64")
    assert {a.dtype.name for n, a in model.state_dict().items() if "num" not in n} == {"float64"}
    assert model.bn.num_batches_tracked.dtype == np.int64
    model(Tensor(np.ones((2, 3, 5, 5))))
    assert model.bn.running_mean.dtype == np.float64
    with pytest.raises(DTypeError, match="dtype float16 is neither"):
        model.astype("float16")


def test_running_statistics_move_as_in_pytorch(rng):
    """running = (1 - m)·running + m·batch with the unbiased variance."""
    bn, x = nn.BatchNorm2d(2, momentum=0.3).astype("float64"), rng.standard_normal((3, 2, 4, 5))
    bn(Tensor(x))
    np.testing.assert_allclose(bn.running_mean, 0.3 * x.mean((0, 2, 3)))
    np.testing.assert_allclose(bn.running_var, 0.7 + 0.3 * x.var((0, 2, 3), ddof=1))
    assert bn.num_batches_tracked == 1
    bn.eval()
    frozen = bn.running_mean.copy()
    y = bn(Tensor(x)).data
    np.testing.assert_array_equal(bn.running_mean, frozen)
    expected = (x - frozen[:, None, None]) / np.sqrt(bn.running_var[:, None, None] + 1e-5)
    np.testing.assert_allclose(y, expected)


def test_one_value_a_channel_cannot_be_normalised():
    with pytest.raises(ShapeError, match="one value a channel, and its variance is 0 in training"):
        nn.BatchNorm2d(2)(Tensor(np.ones((1, 2, 1, 1), np.float32)))


@pytest.mark.parametrize(("layer", "op", "shape"), [
    (nn.MaxPool2d(3, 2, 1, 1, True), lambda x: ops.max_pool2d(x, 3, 2, 1, 1, True), (2, 3, 8, 7)),
    (nn.MaxPool2d(2), lambda x: ops.max_pool2d(x, 2, 2), (2, 3, 8, 7)),
    (nn.AvgPool2d(3, 2, 1, False, False), lambda x: ops.avg_pool2d(x, 3, 2, 1, False, False), (2, 3, 8, 7)),
    (nn.AdaptiveAvgPool2d((2, 3)), lambda x: ops.adaptive_avg_pool2d(x, (2, 3)), (2, 3, 8, 7)),
    (nn.LocalResponseNorm(3, 0.5, 0.6, 2), lambda x: ops.local_response_norm(x, 3, 0.5, 0.6, 2), (2, 5, 4, 3)),
    (nn.Flatten(), lambda x: x.reshape(2, -1), (2, 3, 4)),
    (nn.Identity(), lambda x: x, (2, 3)),
    (nn.ReLU(), ops.relu, (2, 3)),
], ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "")
def test_layers_call_their_op(layer, op, shape, rng):
    x = Tensor(rng.standard_normal(shape))
    np.testing.assert_array_equal(layer(x).data, op(x).data)
    assert repr(layer).startswith(type(layer).__name__ + "(")


def test_conv_and_linear_layers(rng):
    x = Tensor(rng.standard_normal((2, 4, 6, 5)).astype(np.float32))
    conv = nn.Conv2d(4, 6, (3, 2), 2, 1, 1, 2)
    np.testing.assert_array_equal(conv(x).data, ops.conv2d(x, conv.weight, conv.bias, 2, 1, 1, 2).data)
    assert repr(conv) == "Conv2d(4, 6, kernel_size=(3, 2), stride=2, padding=1, groups=2)"
    linear = nn.Linear(5, 3, bias=False)
    assert linear.bias is None
    assert linear(x.reshape(-1, 5)).shape == (48, 3)
    with pytest.raises(ShapeError, match="Conv2d: in_channels 3 is not divisible by groups 2; choose groups from 1$"):
        nn.Conv2d(3, 4, 3, groups=2)


def test_dropout_layers_only_drop_in_training():
    x = Tensor(np.ones((50, 2), np.float32))
    for layer in (nn.Dropout(0.5), nn.DropPath(0.5)):
        assert (layer(x).data == 0).any()
        assert layer.eval()(x) is x


def test_inplace_relu_is_refused():
    with pytest.raises(ArgumentError, match="inplace=True would change what other layers recorded"):
        nn.ReLU(inplace=True)


def test_attributes_before_init_are_refused():
    class Wrong(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()
    with pytest.raises(ArgumentError, match=r"Wrong.layer assigned before Module.__init__; call super"):
        Wrong()


def test_attributes_can_change_kind():
    module = nn.Module()
    module.part = nn.ReLU()
    module.part = nn.Parameter(np.zeros(2))
    assert [n for n, _ in module.named_parameters()] == ["part"]
    assert list(module.children()) == []
    del module.part
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'part'"):
        _ = module.part
    with pytest.raises(NotImplementedError, match="Module has no forward method"):
        module(1)


def test_shared_modules_are_listed_once():
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, shared)
    assert len(list(model.parameters())) == 2


def test_sequential_is_a_list():
    model = nn.Sequential(nn.ReLU(), nn.Flatten()).append(nn.Identity())
    assert len(model) == 3
    assert isinstance(model[-1], nn.Identity)
    assert len(model[:2]) == 2
    assert [type(m).__name__ for m in model] == ["ReLU", "Flatten", "Identity"]
    assert list(nn.Sequential({"a": nn.ReLU()})._modules) == ["a"]


@pytest.mark.parametrize(("function", "std"), [
    (lambda s: nn.init.he_normal(s), (2 / (64 * 9)) ** 0.5),
    (lambda s: nn.init.he_normal(s, "fan_out"), (2 / (128 * 9)) ** 0.5),
    (lambda s: nn.init.he_uniform(s), (2 / (64 * 9)) ** 0.5),
    (lambda s: nn.init.xavier_normal(s), (2 / (192 * 9)) ** 0.5),
    (lambda s: nn.init.xavier_uniform(s), (2 / (192 * 9)) ** 0.5),
    (lambda s: nn.init.normal(s, 0.01), 0.01),
])
def test_initial_weights_have_the_formulas_spread(function, std):
    w = function((128, 64, 3, 3))
    assert w.dtype == np.float32
    assert abs(w.mean()) < 0.01 * std * 3
    assert w.std() == pytest.approx(std, rel=0.02)


def test_initial_weights_follow_the_seed():
    minicnn.seed(3)
    first = nn.Conv2d(2, 3, 3).weight.data
    second = nn.Conv2d(2, 3, 3).weight.data
    minicnn.seed(3)
    np.testing.assert_array_equal(nn.Conv2d(2, 3, 3).weight.data, first)
    assert (first != second).any()


def test_initial_weights_take_no_more_memory_than_themselves():
    """A weight of 16 MB; its numbers in float64 would be 32 MB more. And the chunks are the numbers of one call."""
    minicnn.seed(5)
    tracemalloc.start()
    try:
        weight = nn.init.normal((1000, 4000), 2.0, 1.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * weight.nbytes
    minicnn.seed(5)
    at_once = 1.0 + 2.0 * minicnn.random.generator().standard_normal(weight.shape)
    np.testing.assert_array_equal(weight, at_once.astype("float32"))


def test_init_messages():
    with pytest.raises(ArgumentError, match=r"a weight of shape \(3,\) has no fan"):
        nn.init.he_normal((3,))
    with pytest.raises(ArgumentError, match="mode 'fan' is not 'fan_in' or 'fan_out'"):
        nn.init.he_normal((3, 3), "fan")


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0)])
def test_relu_and_max_pooling_change_places(size, stride, padding, rng):
    """As layer by layer while watched, where ties of what ReLU closed lie in a window too; the larger image is not kept."""
    random.seed(5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(size, stride, padding)).astype("float64")
    model[0].bias.data[...] = [-2.0, 0.0, 0.5, -30.0]           # of some channels windows are closed, of the last all
    pooled, kept = model[2].forward, []
    model[2].forward = lambda x: (kept.append(weakref.ref(x.data)), pooled(x))[1]
    x, results = rng.standard_normal((2, 3, 7, 9)), []
    for watching in (contextlib.nullcontext(), autograd.observing(object())):
        with watching:
            image = Tensor(x, requires_grad=True)
            y = model(image)
            gc.collect()
            assert (kept[-1]() is None) == (len(kept) == 1)
            y.backward(np.random.default_rng(1).standard_normal(y.shape))
        results.append((y.data, image.grad, *[parameter.grad for parameter in model.parameters()]))
        for parameter in model.parameters():
            parameter.grad = None
    assert 0 < (results[0][0][:, :3] == 0).sum() < results[0][0][:, :3].size
    for together, alone in zip(*results):
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-13)
