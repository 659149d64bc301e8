"""Networks whose convolutions end in fully connected layers (AlexNet, VGG): their features and their dense evaluation.

Such a model has `features` (convolutions), `classifier` (Linear, ReLU, Dropout), `side` (the height and width of the
map that the first Linear covers) and `pooled(x)`, the images' rows of features between the two.
"""

from minicnn import nn, ops
from minicnn.errors import ModelError, ShapeError
from minicnn.models.registry import check_images

LAYERS = ("pool5", "fc6", "fc7", "fc8")


def set_std(layer, std):
    """Make the initial weights of a Conv2d or Linear N(0, std²): they are normal already, only their spread changes."""
    fan_in = layer.weight.size // layer.weight.shape[0]
    layer.weight.data *= std * (fan_in / (2 if isinstance(layer, nn.Conv2d) else 1)) ** 0.5


def features_at(model, layer, x):
    """The activations of images x at one layer, (N, features), for other tasks; evaluation mode turns dropout off.

    layer: "pool5" (what the fully connected layers see), "fc6" or "fc7" (behind their ReLU), "fc8" (the logits).
    Raises ModelError for other layers.
    """
    if layer not in LAYERS:
        raise ModelError(f"features_at: {type(model).__name__} has no layer {layer!r}; choose from {', '.join(LAYERS)}")
    x, at = model.pooled(x), 0
    for module in model.classifier:
        if at == LAYERS.index(layer) and not isinstance(module, nn.ReLU):
            break
        x = module(x)
        at += isinstance(module, nn.Linear)
    return x


class FullyConvolutional(nn.Module):
    """The same network with its fully connected layers as convolutions: whole images of any larger size, densely.

    x (N, C, H, W) -> scores (N, num_classes), averaged over all positions. The parameters are the model's own.
    Source: Simonyan and Zisserman 2015, section 3.2.
    """

    def __init__(self, model):
        super().__init__()
        self.in_channels, self.model = model.in_channels, model

    def score_map(self, x):
        """Scores at every position: (N, num_classes, OH, OW)"""
        check_images(x, self, 1, "there is no pixel")
        side, images = self.model.side, x.shape[2:]
        x = self.model.features(x)
        if min(x.shape[2:]) < side:
            raise ShapeError(f"FullyConvolutional: an image of {images[0]}x{images[1]} pixels leaves a map of "
                             f"{x.shape[2]}x{x.shape[3]}, and the first fully connected layer covers {side}x{side}; "
                             "resize the images to at least the size that the network was trained with")
        for module in self.model.classifier:
            if isinstance(module, nn.Linear):
                kernel = side if x.shape[1] != module.in_features else 1
                weight = ops.reshape(module.weight, (module.out_features, x.shape[1], kernel, kernel))
                x = ops.conv2d(x, weight, module.bias)
            else:
                x = module(x)
        return x

    def forward(self, x):
        return ops.global_avg_pool2d(self.score_map(x))


def fully_convolutional(model):
    """A FullyConvolutional of an AlexNet or VGG, sharing its weights. Raises ModelError for models of other kinds."""
    if not hasattr(model, "side"):
        raise ModelError(f"fully_convolutional: {type(model).__name__} has no fully connected layers behind a fixed "
                         "map; choose an AlexNet or VGG, other networks take larger images as they are")
    return FullyConvolutional(model)
