"""Deep networks with stochastic depth: Huang et al. 2016.

The mechanism is residual_sum and set_survival in residual.py. It works on every
residual network here: create("resnet50", survival=0.5), or with_stochastic_depth(model, 0.5).
"""

import math

from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, register
from minicnn.models.residual import residual_blocks, set_survival
from minicnn.models.resnet_cifar import resnet_cifar

RECIPE = Recipe(
    source="Huang et al. 2016, section 4", batch_size=128, epochs=500, lr=0.1, weight_decay=1e-4, nesterov=True,
    schedule="multistep", schedule_args={"milestones": [250, 375], "factor": 0.1},
    augmentation=(("pad_crop", 4), ("flip",), ("normalize",)), validation="5,000 of the 50,000 training images",
    dropout="blocks survive with p_l = 1 - (l/L)/2, drawn for each block and mini-batch",
    notes="the same network with constant depth: 6.41 on CIFAR-10+, 27.76 on CIFAR-100+")


def with_stochastic_depth(model, survival=0.5):
    """Give every residual block of `model` its probability of survival, linear down to `survival`; returns the model.

    Raises ArgumentError unless 0 <= survival <= 1, ModelError for networks without residual blocks.
    """
    return set_survival(model, survival)


def expected_blocks(model):
    """How many residual blocks a mini-batch is expected to pass: Σ p_l, which is (3L - 1)/4 for p_L = 0.5.

    Source: Huang et al. 2016, section 3, "expected network depth".
    """
    return math.fsum(block.survival for block in residual_blocks(model))


FACTS = {"paper": "Huang et al. 2016, Deep networks with stochastic depth", "year": 2016, "input_shape": (3, 32, 32),
         "smallest": 1, "recipes": {"paper": RECIPE}}


@register("stochastic_depth_resnet110", {"depth": 110}, **FACTS, depth=110, params=1_727_962, macs=252_887_680,
          published=(Published("CIFAR-10+", 5.25, source="table 1"), Published("CIFAR-100+", 24.98, source="table 1")))
@register("stochastic_depth_resnet1202", {"depth": 1202}, **FACTS, depth=1202, params=19_421_274, macs=2_829_238_912,
          published=(Published("CIFAR-10+", 4.91, source="section 4"),))
def stochastic_depth_resnet(depth, num_classes=10, option="A", survival=0.5, in_channels=3):
    """A CIFAR ResNet of `depth` = 6n+2 layers whose last block survives with probability `survival`."""
    return resnet_cifar(depth, num_classes, option, survival, in_channels)
