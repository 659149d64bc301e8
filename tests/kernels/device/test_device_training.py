"""Whole networks on the GPU: the loop, its checkpoints, the loader's uploads."""

import numpy as np
import pytest
from support import run_with_gradients

import minicnn
from kernels import device
from minicnn import Tensor, data, models, nn, ops, optim
from minicnn.training import Trainer, load_checkpoint, saved_checkpoints

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not device.available(), reason=f"no GPU: {device.why_not()}")]


class Net(nn.Module):
    """Convolution, batch norm, ReLU, pooling, dropout, linear: x (N, 1, 4, 4) -> logits (N, 3)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, stride=2, padding=1, bias=False)
        self.bn, self.pool, self.dropout, self.fc = nn.BatchNorm2d(2), nn.MaxPool2d(2, 1), nn.Dropout(0.2), nn.Linear(2, 3)

    def forward(self, x):
        return self.fc(self.dropout(ops.flatten(self.pool(ops.relu(self.bn(self.conv(x)))))))


def build(where, folder=None, **options):
    minicnn.seed(1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 4, 4, 1), dtype=np.uint8)
    dataset = data.ArrayDataset(images, np.arange(10) % 3, ["a", "b", "c"])
    loader, test = data.Loader(dataset, 4, shuffle=True, workers=1), data.Loader(dataset, 10, workers=0)
    model = Net().astype("float64").to(where)
    optimizer = optim.SGD(model.parameters(), 0.1, 0.9, 1e-3, nesterov=True)
    return Trainer(model, loader, test, optimizer, epochs=2, ema_decay=0.9, clip_norm=1.0, folder=folder, **options)


def test_training_on_the_device_is_training_on_the_cpu(tmp_path):
    """Two epochs in float64: the same weights, losses and accuracies to rounding."""
    host = build("cpu")
    expected = host.run()
    gpu = build("cuda", tmp_path)
    for a, b in zip(expected, gpu.run()):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-9)
        assert b["test_accuracy"] == a["test_accuracy"]
    for name, array in gpu.model.state_dict().items():
        np.testing.assert_allclose(np.asarray(array), host.model.state_dict()[name], rtol=1e-8, atol=1e-10, err_msg=name)
    assert (tmp_path / "weights.safetensors").exists()


def test_a_checkpoint_of_the_device_goes_on_there(tmp_path):
    whole = build("cuda", tmp_path, keep=5)
    whole.run()
    later = build("cuda")
    later.restore(*load_checkpoint(saved_checkpoints(tmp_path / "checkpoints")[0]))
    later.run()
    for name, array in later.model.state_dict().items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(whole.model.state_dict()[name]))


def test_batches_arrive_in_order_and_whole(rng):
    from kernels.device.upload import prefetched
    batches = [(rng.random((size, 2)), np.arange(size)) for size in (3, 3, 3, 2, 3)]
    arrived = [(np.asarray(images), labels) for images, labels in prefetched(iter(batches), np.dtype("float32"))]
    for (images, labels), (expected, numbers) in zip(arrived, batches, strict=True):
        np.testing.assert_array_equal(images, expected.astype("float32"))
        np.testing.assert_array_equal(labels, numbers)


@pytest.mark.filterwarnings("ignore:.*encountered in scalar:RuntimeWarning")        # the simulator's threads are Python's
def test_a_loss_that_is_not_finite_is_explained_there_too():
    trainer = build("cuda")
    trainer.model.fc.weight.data[...] = np.inf
    with pytest.raises(minicnn.errors.TrainingError, match=r"the loss became .* fc \(Linear\)"):
        trainer.run()


@pytest.mark.parametrize("name", ["resnet20", "densenet_bc_100_12", "squeezenet1_1", "googlenet", "fractalnet20"])
@pytest.mark.slow
def test_models_of_every_kind_compute_what_they_do_on_the_cpu(name):
    if "simulator" in device_name():
        pytest.skip("whole networks take hours in the simulator")
    shape = models.info(name).input_shape
    minicnn.seed(0)
    model = models.create(name, num_classes=10).astype("float64").eval()
    image = np.random.default_rng(0).standard_normal((2, *shape))

    def logits(x):
        output = model(x)
        return output[0] if isinstance(output, tuple) else output
    host = run_with_gradients(logits, [image])
    model.to("cuda")
    gpu = run_with_gradients(lambda x: logits(x.to("cuda")).to("cpu"), [image])
    for a, b in zip([gpu[0], *gpu[1]], [host[0], *host[1]]):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def device_name():
    from kernels.device import shim
    return shim.name()


def test_recompute_runs_on_the_device():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = ops.recompute(lambda a, again: ops.exp(a) * a, x.to("cuda"))
    y.sum().backward()
    np.testing.assert_allclose(x.grad, np.exp([1, 2]) * [2, 3], rtol=1e-12)
