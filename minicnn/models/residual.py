"""What residual networks share: shortcuts without parameters, stages, and the sum that may leave a block out."""

from minicnn import nn, ops, random
from minicnn.errors import ArgumentError, ModelError

OPTIONS = ("A", "B", "C", "none")


class PadShortcut(nn.Module):
    """Shortcut option A: every stride-th pixel, and zero channels added equally before and behind.

    x (N, C, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride)), no parameters.
    Source: He et al. 2016, section 3.3.
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


def make_shortcut(option, in_channels, out_channels, stride):
    """The module on a block's shortcut by the options of He et al. 2016, section 4.1; None for the identity.

    A pads where the shape changes, B projects there (1x1 convolution and batch norm), C projects everywhere.
    """
    changes = stride != 1 or in_channels != out_channels
    if option == "C" or (changes and option == "B"):
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
    return PadShortcut(in_channels, out_channels, stride) if changes and option == "A" else None


def check_option(option):
    """Raise ModelError unless `option` names a kind of shortcut; "none" is the plain network."""
    if option not in OPTIONS:
        raise ModelError(f"shortcut option {option!r} is none of the paper's; choose from {', '.join(OPTIONS)}")


def make_stage(make_block, in_channels, channels, blocks, stride):
    """A Sequential of `blocks` blocks, the first with `stride`: make_block(in_channels, channels, stride) -> module."""
    layers = [make_block(in_channels, channels, stride)]
    for _ in range(blocks - 1):
        layers.append(make_block(layers[0].out_channels, channels, 1))
    return nn.Sequential(*layers)


def residual_sum(block, shortcut, x):
    """shortcut + block.residual(x), where the block is dropped in training with probability 1 - block.survival.

    One draw decides for the whole mini-batch, and what is dropped is not computed; in evaluation the residual is
    multiplied by block.survival. Source: Huang et al. 2016, equations 2 and 5.
    """
    if block.survival == 1:
        return shortcut + block.residual(x)
    if not block.training:
        return shortcut + block.residual(x) * block.survival
    return shortcut + block.residual(x) if survives(block) else shortcut


def survives(block):
    """Draw whether a block is computed in this mini-batch; a block that always survives draws nothing."""
    return block.survival == 1 or random.next_key() < block.survival * 2 ** 64


def set_survival(model, last):
    """Stochastic depth for every residual block of `model`, in order: p_l = 1 - (l/L)·(1 - last). Returns the model.

    last: the probability p_L that the last block survives a mini-batch; the paper's is 0.5, 1 is an ordinary network.
    Source: Huang et al. 2016, equation 4. Raises ArgumentError unless 0 <= last <= 1, ModelError where nothing is
    residual.
    """
    if not 0 <= last <= 1:
        raise ArgumentError(f"stochastic depth: survival {last} is not a probability; choose from 0 to 1")
    blocks = residual_blocks(model)
    if not blocks:
        raise ModelError(f"stochastic depth: {type(model).__name__} has no residual blocks; choose a residual network")
    for l, block in enumerate(blocks, start=1):
        block.survival = 1 - l / len(blocks) * (1 - last)
    return model


def residual_blocks(model):
    """The modules of `model` that have a probability of survival, in order."""
    return [module for module in model.modules() if hasattr(module, "survival")]
