"""FractalNet: Larsson, Maire, Shakhnarovich 2017. Ultra-deep networks without residuals, and drop-path."""

from minicnn import nn, ops, random
from minicnn.errors import ModelError
from minicnn.models.recipe import Recipe
from minicnn.models.registry import Published, check_images, register

RECIPE = Recipe(
    source="Larsson et al. 2017, section 4", batch_size=100, epochs=400, lr=0.02, weight_decay=1e-4,
    schedule="multistep", schedule_args={"milestones": [200, 300, 350, 375], "factor": 0.1},
    augmentation=(("pad_crop", 4), ("flip",), ("normalize",)), initial="Xavier (Glorot and Bengio 2010)",
    dropout="0, 0.1, 0.2, 0.3, 0.4 behind the blocks; drop-path local 0.15 and global, half of the mini-batches each",
    notes="the rate is divided by 10 each time the remaining epochs halve; weight decay unverified; after few epochs recompute "
          "batch norm's statistics, which drop-path took from joins with inputs missing")
LOCAL_DROP = 0.15               # probability that a join loses an input (section 3)
GLOBAL_SHARE = 0.5              # of the mini-batches that take one column


def chance():
    """A uniform number in [0, 1)."""
    return random.next_key() / 2 ** 64


def surviving(columns, training):
    """Which inputs of a join count: a list of bools. In training each is lost with probability 0.15, but never all."""
    if not training:
        return [True] * columns
    keep = [chance() >= LOCAL_DROP for _ in range(columns)]
    if not any(keep):
        keep[int(chance() * columns)] = True
    return keep


class ConvUnit(nn.Module):
    """3x3 convolution, batch norm, ReLU: x (N, C, H, W) -> (N, out_channels, H, W)"""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv.weight.data[...] = nn.init.xavier_normal(self.conv.weight.shape)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return nn.conv_norm_relu(self.conv, self.bn, x)


class Fractal(nn.Module):
    """f_1(z) = conv(z);  f_{C+1}(z) = [(f_C ∘ f_C)(z)] ⊕ [conv(z)], ⊕ the mean: figure 1.

    Column 0 is one convolution, column c has 2^c. All the columns that end in one place meet in one join.
    x (N, C, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, columns, in_channels, out_channels):
        super().__init__()
        self.columns = columns
        self.conv = ConvUnit(in_channels, out_channels)
        if columns > 1:
            self.first = Fractal(columns - 1, in_channels, out_channels)
            self.second = Fractal(columns - 1, out_channels, out_channels)

    def forward(self, x):
        ends = self.ends(x, surviving(self.columns, self.training))
        total = ends[0]
        for end in ends[1:]:
            total = total + end
        return total * (1 / len(ends)) if len(ends) > 1 else total

    def ends(self, x, keep):
        """The outputs of the columns c with keep[c], before their join; the others are not computed."""
        ends = [self.conv(x)] if keep[0] else []
        return ends + self.second.ends(self.first(x), keep[1:]) if any(keep[1:]) else ends

    def column(self, c):
        """The ConvUnits of column c, in order."""
        return [self.conv] if c == 0 else self.first.column(c - 1) + self.second.column(c - 1)


class FractalNet(nn.Module):
    """Fractal blocks, each with 2x2 pooling and dropout behind it; global average; linear. Depth B·2^(C-1).

    x (N, in_channels, H, W) -> logits (N, num_classes). In training each mini-batch is by chance local (every join
    loses inputs on its own) or global (one random column runs through all blocks, and nothing else is computed).
    """

    def __init__(self, columns, channels, dropouts, num_classes, in_channels):
        super().__init__()
        self.in_channels, self.columns = in_channels, columns
        self.blocks, self.dropouts = nn.ModuleList(), nn.ModuleList()
        for width, dropout in zip(channels, dropouts):
            self.blocks.append(Fractal(columns, in_channels, width))
            self.dropouts.append(nn.Dropout(dropout))
            in_channels = width
        self.fc = nn.Linear(in_channels, num_classes)
        self.fc.weight.data[...] = nn.init.xavier_normal(self.fc.weight.shape)

    def forward(self, x):
        if self.training and chance() < GLOBAL_SHARE:
            return self.column(int(chance() * self.columns))(x)
        return run_blocks(self, self.blocks, x)

    def column(self, c):
        """Column c as a plain network of B·2^c layers that shares the weights: the "anytime" answer of section 4.

        0 is the shallowest. Raises ModelError for columns that are not there.
        """
        if not 0 <= c < self.columns:
            raise ModelError(f"FractalNet: there is no column {c}; choose from 0 (shallowest) to {self.columns - 1}")
        return FractalColumn(self, c)


class FractalColumn(nn.Module):
    """One column of a FractalNet as a plain network; its parameters and state are the FractalNet's own."""

    def __init__(self, net, c):
        super().__init__()
        self.in_channels, self.dropouts = net.in_channels, net.dropouts
        self.blocks = nn.ModuleList([nn.Sequential(*block.column(c)) for block in net.blocks])
        self.fc, self.training = net.fc, net.training

    def forward(self, x):
        return run_blocks(self, self.blocks, x)


def run_blocks(net, blocks, x):
    """Blocks with pooling and dropout, then the classifier: (N, C, H, W) -> (N, num_classes)"""
    check_images(x, net, 2 ** len(blocks), f"{len(blocks)} poolings halve it to less than one pixel")
    for block, dropout in zip(blocks, net.dropouts):
        x = dropout(ops.max_pool2d(block(x), 2))
    return net.fc(ops.global_avg_pool2d(x))


FACTS = {"paper": "Larsson, Maire, Shakhnarovich 2017, FractalNet: ultra-deep neural networks without residuals",
         "year": 2017, "input_shape": (3, 32, 32), "smallest": 32, "recipes": {"paper": RECIPE}}
WIDTHS = (64, 128, 256, 512, 512)
NARROW = (16, 32, 64, 128, 128)


# 38.6 M parameters are quoted for this network (Huang et al. 2017, table 2, which counts 21 layers). The paper's rule with its
# columns, blocks and widths has 33.7 M: in a block of 2^3 - 1 convolutions 3 see the block's input and 4 its own width. The
# authors' generator of Caffe files (gustavla/fractalnet, generation/fractalnet.py) lays out these 35 convolutions, all 3x3, and
# one linear layer, and pytorchcv's implementation counts 33,724,618 too. Nothing near comes to 38.6 M: with biases in the
# convolutions 33.73 M, for 100 classes 33.77 M, with 2x2 filters in the last block 24.5 M, with one convolution more in every
# block 39.2 M, with 4 columns 76.1 M, with 1024 filters in the last block 69.1 M.
@register("fractalnet20", {"columns": 3, "channels": WIDTHS}, **FACTS, depth=20, params=33_724_618, macs=845_222_912,
          published=(
    Published("CIFAR-10+", 4.60, source="table 1, with drop-path and dropout"),
    Published("CIFAR-10", 7.33, source="table 1, with drop-path and dropout"),
    Published("CIFAR-100+", 23.73, source="table 1, with drop-path and dropout"),
    Published("SVHN", 1.87, source="table 1, with drop-path and dropout")))
# The quarter of the widths is that of the paper's study of depth (table 3), which has 4.8 M parameters at 40 layers.
@register("fractalnet40", {"columns": 4, "channels": NARROW}, **FACTS, depth=40, params=4_767_210, macs=128_582_912)
def fractalnet(columns, channels=WIDTHS, dropouts=(0.0, 0.1, 0.2, 0.3, 0.4), num_classes=10, in_channels=3):
    """A FractalNet with one block for each of `channels`; `dropouts` stand behind the blocks. Raises ModelError.

    fractalnet20 has 33.7 M parameters, as the authors' generator lays it out; the 38.6 M quoted elsewhere fit no reading of
    the paper.
    """
    if columns < 1:
        raise ModelError(f"fractalnet: columns {columns} is less than 1; the paper has 1 to 6")
    if len(channels) != len(dropouts):
        raise ModelError(f"fractalnet: {len(channels)} channels and {len(dropouts)} dropouts; give one of each a block")
    return FractalNet(columns, channels, dropouts, num_classes, in_channels)
