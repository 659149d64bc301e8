"""Real trained weights on real images: the whole chain gives PyTorch's and the papers' counts."""

from pathlib import Path

import numpy as np
import pytest

from minicnn import data, io, models, no_grad

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not found (../shared/data)")


def logits_of(model, images, batch=250):
    with no_grad():
        return np.concatenate([model(images[i:i + batch]).data for i in range(0, len(images), batch)])


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize(("name", "file", "correct"), [
    ("resnet20", "resnet20-12fca82f.th", 4051), ("resnet32", "resnet32-d509ac18.th", 4145)])
def test_cifar_resnet(name, file, correct):
    test = data.open_dataset(SHARED / "cifar10-jpeg.zip", "test")
    mean, std = (np.array(v, "float32") for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images = np.stack([test.image(i) for i in range(len(test))])
    images = ((images.astype("float32") / 255 - mean) / std).transpose(0, 3, 1, 2)
    labels = np.array([test.label(i) for i in range(len(test))])
    model = models.create(name).eval()
    model.load_state_dict(io.load_weights(SHARED / file))
    assert abs(int((logits_of(model, images).argmax(1) == labels).sum()) - correct) <= 1


@needs_shared
@pytest.mark.slow
def test_deep_compressed_squeezenet():
    """The authors' Caffe net: BGR, 0 to 255, minus (104, 117, 123), centre crop 227; its last convolution is padded."""
    test = data.open_dataset(SHARED / "imagenet100.zip")
    model = models.create("squeezenet1_0", classifier_padding=1).eval()
    model.load_state_dict(io.load_weights(SHARED / "compressed_SqueezeNet.net"))
    top1 = top5 = 0
    for i in range(len(test)):
        image = test.image(i)
        top, left = ((side - 227) // 2 for side in image.shape[:2])
        x = image[top:top + 227, left:left + 227, ::-1].astype("float32") - np.array([104, 117, 123], "float32")
        order = logits_of(model, x.transpose(2, 0, 1)[None])[0].argsort()[::-1]
        top1, top5 = top1 + (order[0] == test.label(i)), top5 + (test.label(i) in order[:5])
    assert abs(top1 - 60) <= 1
    assert abs(top5 - 82) <= 1
