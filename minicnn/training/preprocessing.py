"""What images go through before a network that is to be evaluated: their geometry (crops) and their values."""

from minicnn import data
from minicnn.data import IMAGENET_MEAN, IMAGENET_STD, transforms
from minicnn.errors import ArgumentError

CROPS = ("single", "10", "144", "dense", "multiscale")
VALUES = ("data", "imagenet", "caffe")
_MULTISCALE = (256, 384, 512)       # shorter sides for a network of 224: Simonyan and Zisserman 2015, table 4


class CaffeValues:
    """RGB uint8 (H, W, 3) to Caffe's float32 (3, H, W): BGR, 0..255 minus the mean 104, 117, 123 of each channel."""

    MEAN = (104.0, 117.0, 123.0)

    def __call__(self, image, rng=None):
        return transforms.Normalize([mean / 255 for mean in self.MEAN], [1 / 255] * 3)(image[..., ::-1])


def value_transform(kind, dataset, mean=None, std=None):
    """The last transform: "data" (the data set's own mean and std), "imagenet" (ImageNet's) or "caffe".

    mean, std: sequences that take the place of the named ones, of pixels in 0..1. Raises ArgumentError.
    """
    if kind not in VALUES:
        raise ArgumentError(f"there is no preprocessing {kind!r}; choose from {', '.join(VALUES)}")
    if kind == "caffe":
        if mean is not None or std is not None:
            raise ArgumentError("preprocessing caffe has its own mean; leave mean and std out, or choose imagenet or data")
        return CaffeValues()
    usual = (IMAGENET_MEAN, IMAGENET_STD) if kind == "imagenet" else (dataset.mean, dataset.std)
    return transforms.Normalize(usual[0] if mean is None else mean, usual[1] if std is None else std)


def evaluation_transforms(dataset, input_shape, crops, values):
    """A list of transforms, one for each view of the images that evaluate averages over.

    crops: "single" (data.default_transforms' centre), "10" (Krizhevsky et al. 2012), "144" (Szegedy et al. 2015), "dense"
    (the whole image and its mirror image) or "multiscale" (dense at three sizes; Simonyan and Zisserman 2015). Whole
    images go through one by one, since their sizes differ. values: the last transform. Raises ArgumentError.
    """
    if crops not in CROPS:
        raise ArgumentError(f"there is no way to crop {crops!r}; choose from {', '.join(CROPS)}")
    channels, height, width = input_shape
    grey = [transforms.GrayToRGB()] if channels == 3 and dataset.image(0).shape[2] == 1 else []
    if crops == "single":
        usual = data.default_transforms(dataset, input_shape, train=False).transforms
        return [transforms.Compose([*usual[:-1], values])]
    if crops == "10":
        resize = transforms.Resize(_with_margin(min(height, width)))
        return [transforms.Compose([*grey, resize, transforms.TenCrop((height, width), values)])]
    if crops == "144":
        scales = [round(scale * height / 224) for scale in (256, 288, 320, 352)]
        return [transforms.Compose([*grey, transforms.MultiCrop(height, scales, values)])]
    sides = [round(side * height / 224) for side in _MULTISCALE] if crops == "multiscale" else [_with_margin(height)]
    mirrors = [[], [transforms.HorizontalFlip(1.0)]] if dataset.mirrorable else [[]]
    return [transforms.Compose([*grey, transforms.Resize(side), *mirror, values]) for side in sides for mirror in mirrors]


def _with_margin(side):
    """The shorter side of the image of which a crop of `side` is taken: 256 for 224 to 256, else in that proportion."""
    return 256 if 224 <= side < 256 else round(side * 256 / 224)
