import json

import numpy as np
import pytest

from minicnn import models, nn, ops
from minicnn.errors import ShapeError
from minicnn.study import summary


class Residual(nn.Module):
    """A convolution and a shortcut; the ReLU is a function and dropout runs in training only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return ops.relu(self.drop(self.conv(x)) + x)


def small_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), Residual(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 2 * 2, 10))


def test_every_figure_of_a_small_net_by_hand():
    found = summary(small_net(), (3, 8, 8))
    rows = [(r.path, r.operation, r.output_shape, r.parameters, r.macs, r.activation_bytes) for r in found.rows]
    assert rows == [
        ("0", "Conv2d", (1, 4, 4, 4), 4 * 3 * 9, 4 * 16 * 27, 4 * 64),
        ("1", "BatchNorm", (1, 4, 4, 4), 8, 0, 4 * 64),
        ("2.conv", "Conv2d", (1, 4, 4, 4), 4 * 4 * 9 + 4, 4 * 16 * 36, 4 * 64),
        ("2.drop", "Dropout", (), 0, 0, 0),
        ("2", "Add", (1, 4, 4, 4), 0, 0, 4 * 64),
        ("2", "ReLU", (1, 4, 4, 4), 0, 0, 4 * 64),
        ("3", "MaxPool2d", (1, 4, 2, 2), 0, 0, 4 * 16),
        ("4", "Reshape", (1, 16), 0, 0, 4 * 16),            # channels lie last in memory: flattened, they are a copy
        ("5", "Linear", (1, 10), 170, 160, 40),
    ]
    assert found.parameters == 108 + 8 + 148 + 170
    assert found.macs == 1728 + 2304 + 160
    assert found.depth == 3
    assert [r.field.size[0] for r in found.rows if r.field] == [3, 3, 7, 7, 7, 9, 13, 13]
    assert found.field.stride == (4, 4)


def test_what_moves_values_costs_no_operation():
    """Reshape, transpose, pad, index and concat compute nothing; sum and mean read every value."""
    class Moves(nn.Module):
        def forward(self, x):
            x = ops.concat([x, ops.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))])[:, ::2]
            return ops.sum(ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (x.shape[0], -1)), 1)

    flops = {row.operation: row.flops for row in summary(Moves(), (3, 4, 5)).rows}
    assert flops == {"Pad": 0, "Concat": 0, "Index": 0, "Transpose": 0, "Reshape": 0, "Sum": 4 * 4 * 5}


def test_macs_and_memory_grow_with_the_batch_and_parameters_do_not():
    one, four = summary(small_net(), (3, 8, 8)), summary(small_net(), (3, 8, 8), batch=4)
    assert (four.macs, four.flops, four.activation_bytes) == (4 * one.macs, 4 * one.flops, 4 * one.activation_bytes)
    assert four.parameters == one.parameters


def test_resnet20():
    found = summary(models.create("resnet20"), (3, 32, 32))
    assert found.parameters == 269_722
    assert found.macs == 40_551_040      # 442,368 + 18 convolutions + 640 of the linear layer
    assert found.depth == 20
    assert found.field.size == (81, 81)


def test_alexnet():
    found = summary(models.create("alexnet"), (3, 227, 227))
    assert found.parameters == 60_965_224
    # conv1..5 with the groups of the paper, fc6..8
    macs = [96 * 55 * 55 * 363, 256 * 27 * 27 * 48 * 25, 384 * 13 * 13 * 256 * 9, 384 * 13 * 13 * 192 * 9,
            256 * 13 * 13 * 192 * 9, 9216 * 4096, 4096 * 4096, 4096 * 1000]
    assert [row.macs for row in found.rows if row.macs] == macs
    assert found.depth == 8
    assert found.field.size == (195, 195)      # Araujo et al. 2019, table 1 (alexnet_v2 has the same windows)
    assert found.field.stride == (32, 32)


def test_the_model_stays_as_it_was():
    model = small_net()
    model[2].eval()
    modes = [module.training for module in model.modules()]
    before = {name: array.copy() for name, array in model.state_dict().items()}
    summary(model, (3, 8, 8))
    assert [module.training for module in model.modules()] == modes
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_shared_layer_counts_its_parameters_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.conv(self.conv(x))
    found = summary(Twice(), (2, 4, 4))
    assert [row.parameters for row in found.rows] == [6, 0]
    assert found.macs == 2 * 2 * 2 * 16


def test_parameters_of_layers_that_run_in_training_only_are_told():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.extra = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x):
            return (self.main(x), self.extra(x)) if self.training else self.main(x)
    found = summary(Auxiliary(), (4,))
    assert (found.parameters, found.unused_parameters) == (25, 15)
    assert "15 parameters belong to layers that run in training only" in str(found)


def test_the_table_fits_100_columns_and_the_dict_is_json():
    found = summary(models.create("resnet20"), (3, 32, 32), batch=100, name="resnet20")
    assert max(map(len, str(found).splitlines())) <= 100
    assert "269,722" in str(found)
    parsed = json.loads(json.dumps(found.as_dict()))
    assert parsed["totals"]["parameters"] == 269_722
    assert parsed["layers"][0]["field"] == {"size": [3, 3], "stride": [1, 1], "start": [-1, -1]}


def test_float64_models_are_summarised_in_float64():
    assert summary(nn.Sequential(nn.Linear(4, 2)).astype("float64"), (4,)).rows[0].activation_bytes == 16


@pytest.mark.parametrize(("shape", "batch"), [((3, 0, 8), 1), ((3, 8, 8), 0), ((), 1), ((3.5, 8, 8), 1)])
def test_impossible_shapes(shape, batch):
    with pytest.raises(ShapeError, match=r"not made of positive integers; give \(channels, height, width\)"):
        summary(small_net(), shape, batch)


def test_a_network_without_parameters():
    assert summary(nn.Sequential(nn.ReLU()), (3, 4, 4)).macs == 0
    assert summary(nn.Sequential(), (3, 4, 4)).rows == ()
