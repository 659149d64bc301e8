"""What residual networks share: the shortcut without parameters, and the sum that stochastic depth may leave out."""

import math

from minicnn import nn, ops, random
from minicnn.errors import ArgumentError, ModelError

OPTIONS = ("A", "B", "C", "none")


class PadShortcut(nn.Module):
    """Shortcut option A: every stride-th pixel, and zero channels added equally before and behind.

    x (N, C, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride)), no parameters. Source: He et al. 2016, section 3.3.
    """

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        before = (out_channels - in_channels) // 2
        self.channels = before, out_channels - in_channels - before
        self.stride = stride

    def forward(self, x):
        if self.stride > 1:
            x = x[:, :, ::self.stride, ::self.stride]
        return ops.pad(x, ((0, 0), self.channels, (0, 0), (0, 0)))


def check_option(option):
    """Raise ModelError unless `option` names a kind of shortcut."""
    if option not in OPTIONS:
        raise ModelError(f"shortcut option {option!r} is none of the paper's; choose from {', '.join(OPTIONS)}")


def shortcut_kind(option, in_channels, out_channels, stride):
    """"identity", "pad", "projection", or "none", by the options of He et al. 2016, section 4.1.

    A pads where the shape changes, B projects there, C projects everywhere; "none" is the plain network.
    """
    changes = stride != 1 or in_channels != out_channels
    if option == "none":
        return "none"
    if option == "C" or (changes and option == "B"):
        return "projection"
    return "pad" if changes else "identity"


def residual_sum(block, shortcut, x):
    """shortcut + block.residual(x), where the block may be dropped with probability 1 - block.survival.

    In training one draw decides for the whole mini-batch, and what is dropped is not computed; in evaluation the residual
    is multiplied by block.survival. Source: Huang et al. 2016, equations 2 and 5.
    """
    if block.survival == 1:
        return shortcut + block.residual(x)
    if not block.training:
        return shortcut + block.residual(x) * block.survival
    return shortcut + block.residual(x) if random.next_key() < block.survival * 2 ** 64 else shortcut


def set_survival(model, last):
    """Stochastic depth for every residual block of `model`, in order: p_l = 1 - (l/L)·(1 - last). Returns the model.

    last: the probability p_L that the last block survives a mini-batch, 1 for an ordinary network; the paper's is 0.5.
    Source: Huang et al. 2016, equation 4. Raises ArgumentError unless 0 <= last <= 1, ModelError without residual blocks.
    """
    if not 0 <= last <= 1:
        raise ArgumentError(f"stochastic depth: survival {last} is not a probability; choose from 0 to 1")
    blocks = [module for module in model.modules() if hasattr(module, "survival")]
    if not blocks:
        raise ModelError(f"stochastic depth: {type(model).__name__} has no residual blocks; choose a residual network")
    for l, block in enumerate(blocks, start=1):
        block.survival = 1 - l / len(blocks) * (1 - last)
    return model


def expected_blocks(model):
    """The number of residual blocks that a mini-batch is expected to pass: Σ p_l, (3L - 1)/4 for p_L = 0.5."""
    return math.fsum(module.survival for module in model.modules() if hasattr(module, "survival"))
