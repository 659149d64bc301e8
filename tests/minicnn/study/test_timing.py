import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.errors import ShapeError
from minicnn.study import time_inference, time_layers


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
                         nn.Linear(4 * 36, 5))


def test_every_operation_has_a_forward_and_a_backward_time():
    layers = time_layers(net(), (3, 6, 6), batch=2, repeats=2)
    assert [(layer.path, layer.operation) for layer in layers] == [
        ("0", "Conv2d"), ("1", "BatchNorm"), ("2", "ReLU"), ("3", "Dropout"), ("4", "Reshape"), ("5", "Linear")]
    assert all(layer.forward > 0 and layer.backward > 0 for layer in layers)


def test_the_model_and_the_random_state_stay_as_they_were():
    minicnn.seed(3)
    model = net()
    model[1].eval()
    model[0].weight.grad = marker = np.ones_like(model[0].weight.data)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    state = minicnn.random.get_state()
    time_layers(model, (3, 6, 6), batch=2, repeats=1)
    time_inference(model, (3, 6, 6), batch=2, repeats=1)
    assert minicnn.random.get_state() == state
    assert (model[0].training, model[1].training) == (True, False)
    assert model[0].weight.grad is marker
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_several_outputs():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 4)

        def forward(self, x):
            return self.a(x), self.b(x)
    assert [layer.path for layer in time_layers(Heads(), (3,), batch=2, repeats=1)] == ["a", "b"]


def test_progress_and_limit():
    seen = []
    time_layers(net(), (3, 6, 6), 1, repeats=3, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    seen.clear()
    time_layers(net(), (3, 6, 6), 1, repeats=3, seconds=0, progress=lambda done, of: seen.append(done))
    assert seen == [1, 2]
    assert time_inference(net(), (3, 6, 6), 2, 1) > 0


def test_impossible_shape():
    with pytest.raises(ShapeError, match="positive integers"):
        time_layers(net(), (3, 0, 6))
