"""One block of each family against finite differences in float64."""

import numpy as np
import pytest

from minicnn import gradcheck, nn
from minicnn.models.alexnet import normalization
from minicnn.models.densenet import DenseBlock, Transition
from minicnn.models.fractalnet import Fractal
from minicnn.models.googlenet import Inception, InceptionAux, NaiveInception
from minicnn.models.nin import MLPConv
from minicnn.models.preact_resnet import PreActBlock, PreActBottleneck
from minicnn.models.residual import PadShortcut
from minicnn.models.resnet import BasicBlock, Bottleneck
from minicnn.models.resnext import ResNeXtBlock
from minicnn.models.squeezenet import BypassFire, Fire
from minicnn.models.vgg import convolutions


def small_aux():
    """An auxiliary classifier with 3 hidden units."""
    aux = InceptionAux(4, 3, batch_norm=False, dropout=0.0)
    aux.fc1, aux.fc2 = nn.Linear(2048, 3), nn.Linear(3, 3)
    return aux


BLOCKS = {
    "alexnet": lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), normalization(), nn.MaxPool2d(3, 2)),
    "vgg": lambda: nn.Sequential(*list(convolutions("A-LRN", False, 4))[:4]),
    "inception": lambda: Inception(4, 2, 2, 3, 2, 3, 2, batch_norm=False),
    "inception_bn": lambda: Inception(4, 2, 2, 3, 2, 3, 2, batch_norm=True),
    "inception_naive": lambda: NaiveInception(4, 2, 3, 2),
    "inception_aux": lambda: small_aux(),
    "resnet_a": lambda: BasicBlock(4, 6, stride=2, option="A"),
    "resnet_b": lambda: BasicBlock(4, 6, stride=2),
    "plain": lambda: BasicBlock(4, 4, option="none"),
    "resnet_bottleneck": lambda: Bottleneck(4, 2, stride=2, stride_in="1x1"),
    "pad_shortcut": lambda: PadShortcut(4, 7, stride=2),
    "preact": lambda: PreActBlock(4, 4),
    "preact_bottleneck": lambda: PreActBottleneck(4, 2, stride=2),
    "wide": lambda: PreActBlock(4, 6, dropout=0.3),
    "resnext": lambda: ResNeXtBlock(4, 2, 1, cardinality=2, width=4),
    "resnext_aggregated": lambda: ResNeXtBlock(4, 2, 1, cardinality=2, width=4, form="aggregated"),
    "nin": lambda: MLPConv(4, (3, 4, 3), 3, padding=1),
    "fractalnet": lambda: Fractal(3, 4, 4),
    "densenet": lambda: DenseBlock(2, 4, growth=2, bottleneck=0, dropout=0.0),
    "densenet_bc": lambda: DenseBlock(2, 4, growth=2, bottleneck=4, dropout=0.0),
    "transition": lambda: Transition(4, 2),
    "fire": lambda: Fire(4, 2, 3, 3),
    "fire_bypass": lambda: BypassFire(Fire(4, 2, 3, 3)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients(name, rng):
    block = BLOCKS[name]().astype("float64")
    for parameter in block.parameters():            # away from zeros and ones, so that each term matters
        if parameter.ndim == 1:
            parameter.data[...] = rng.uniform(0.5, 1.5, parameter.shape)
    side = 10 if name == "inception_aux" else 6
    gradcheck.assert_gradients(block, [rng.standard_normal((2, 4, side, side))], seconds=1.0)


def test_a_wrong_block_is_caught(rng):
    """The check sees a block whose shortcut lost its gradient."""
    class Cut(BasicBlock):
        def forward(self, x):
            return self.residual(x) + x.detach()

    report = gradcheck.check(Cut(4, 4).astype("float64"), [rng.standard_normal((2, 4, 5, 5))], seconds=1.0)
    assert not report
    assert np.isfinite(report.seconds)
