import numpy as np
import pytest

import kernels
from minicnn import nn, ops, random
from minicnn.autograd import Op, apply
from minicnn.study.layer_checks import check_layers


class Halve(Op):
    """y = x / 2, with a backward that is wrong."""

    def forward(self, x):
        return x / 2

    def backward(self, gy):
        return gy


class Net(nn.Module):
    def __init__(self, wrong=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.more = nn.Conv2d(4, 4, 3, padding=1)
        self.bn, self.lrn, self.drop = nn.BatchNorm2d(4), nn.LocalResponseNorm(3, alpha=1.0), nn.Dropout(0.3)
        self.pool, self.fc, self.wrong = nn.MaxPool2d(2), nn.Linear(4 * 16 * 16, 10), wrong

    def forward(self, x):
        x = self.more(ops.relu(self.again(ops.relu(self.conv(x)))))
        x = self.drop(self.lrn(self.bn(x)))
        x = ops.concat([x, x * 2.0])[:, :4] + 0.0
        if self.wrong:
            x = apply(Halve(), x)
        return self.fc(ops.flatten(self.pool(x)))


def test_every_distinct_layer_of_a_right_network_passes():
    checks = check_layers(Net(), (3, 64, 64), seconds=0.1)
    assert all(check.passed for check in checks), [check for check in checks if not check.passed]
    assert max(check.error for check in checks) < 1e-5
    found = {check.operation: check for check in checks}
    assert set(found) == {"Conv2d", "ReLU", "BatchNorm", "LocalResponseNorm", "Dropout", "Concat", "Multiply", "Index", "Add",
                          "MaxPool2d", "Reshape", "Linear", "CrossEntropy"}
    convolutions = [(check.path, check.alike) for check in checks if check.operation == "Conv2d"]
    assert convolutions == [("conv", 1), ("again", 2)]
    assert found["CrossEntropy"].path == "loss"
    assert found["ReLU"].alike == 2


def test_a_wrong_backward_is_found_and_named():
    checks = check_layers(Net(wrong=True), (3, 64, 64), seconds=0.1)
    assert [check.operation for check in checks if not check.passed] == ["Halve"]
    bad = next(check for check in checks if not check.passed)
    assert bad.error > 0.4
    assert "wrong" in bad.message


def test_a_wrong_kernel_is_found(monkeypatch):
    module = kernels.ROOMS["batch_norm"].rung("reference")
    right = module.backward

    def wrong(gy, *args):
        gx, gweight, gbias = right(gy, *args)
        return gx, gweight * 1.001, gbias
    monkeypatch.setattr(module, "backward", wrong)
    with kernels.using(batch_norm="reference"):
        checks = check_layers(Net(), (3, 64, 64), seconds=0.1)
    assert [check.operation for check in checks if not check.passed] == ["BatchNorm"]


def test_the_model_stays_as_it_was():
    model = Net().eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    state = random.get_state()
    seen = []
    check_layers(model, (3, 64, 64), seconds=0.01, progress=lambda done, of, check: seen.append((done, of)))
    assert random.get_state() == state
    assert not model.training
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert seen[-1] == (len(seen), len(seen))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_either_dtype(dtype):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).astype(dtype)
    assert all(check.passed for check in check_layers(model, (3, 2, 2)))
    assert model[1].weight.dtype == dtype
