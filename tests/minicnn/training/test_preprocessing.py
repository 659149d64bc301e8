"""What images go through before a trained network."""

import numpy as np
import pytest

from minicnn import data
from minicnn.data import IMAGENET_MEAN, IMAGENET_STD
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.io import save_weights
from minicnn.training import saved_checkpoints
from minicnn.training.preprocessing import CaffeValues, evaluation_transforms, value_transform
from minicnn.training.trained import build_model, read_trained

PHOTOS = data.ArrayDataset(np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), dtype=np.uint8), [0, 1], ["a", "b"])
DIGITS = data.load_digits("test")


def test_caffe_is_bgr_minus_its_mean():
    image = np.zeros((1, 1, 3), np.uint8)
    image[0, 0] = (200, 50, 10)
    np.testing.assert_allclose(CaffeValues()(image)[:, 0, 0], [10 - 104, 50 - 117, 200 - 123], atol=1e-4)


def test_values_by_name_and_by_number():
    assert value_transform("imagenet", DIGITS).mean == IMAGENET_MEAN
    assert value_transform("data", PHOTOS).std == PHOTOS.std
    assert value_transform("imagenet", PHOTOS, mean=[0.5], std=[1.0]).mean == (0.5,)
    assert value_transform("imagenet", PHOTOS).std == IMAGENET_STD
    with pytest.raises(ArgumentError, match="preprocessing 'best'; choose from data, imagenet, caffe"):
        value_transform("best", PHOTOS)
    with pytest.raises(ArgumentError, match="caffe has its own mean"):
        value_transform("caffe", PHOTOS, std=[1.0])


@pytest.mark.parametrize(("crops", "views", "shape"), [
    ("single", 1, (3, 112, 112)), ("10", 1, (10, 3, 112, 112)), ("144", 1, (144, 3, 112, 112)), ("dense", 2, (3, 128, 170)),
    ("multiscale", 6, (3, 128, 170))])
def test_views_have_the_networks_size(crops, views, shape):
    found = evaluation_transforms(PHOTOS, (3, 112, 112), crops, value_transform("data", PHOTOS))
    assert len(found) == views
    assert found[0](PHOTOS.image(0)).shape == shape


def test_dense_views_are_mirror_images_unless_that_changes_the_class():
    values = value_transform("data", PHOTOS)
    straight, mirrored = (view(PHOTOS.image(0), np.random.default_rng(0))
                          for view in evaluation_transforms(PHOTOS, (3, 112, 112), "dense", values))
    assert (straight[..., ::-1] == mirrored).all()
    assert len(evaluation_transforms(DIGITS, (1, 8, 8), "dense", value_transform("data", DIGITS))) == 1


def test_grey_becomes_colour_and_small_images_are_enlarged():
    values = value_transform("imagenet", DIGITS)
    for crops, shape in (("single", (3, 32, 32)), ("10", (10, 3, 32, 32))):
        view, = evaluation_transforms(DIGITS, (3, 32, 32), crops, values)
        assert view(DIGITS.image(0)).shape == shape


def test_unknown_crops():
    with pytest.raises(ArgumentError, match="no way to crop '11'; choose from single, 10"):
        evaluation_transforms(DIGITS, (1, 8, 8), "11", None)


def test_files_say_or_imply_their_preprocessing(tiny, tmp_path):
    configuration = {"model": "tiny", "preprocessing": {"mean": [0.5], "std": [0.2]}}
    trainer = tiny.build(tmp_path, epochs=1, configuration=configuration)
    trainer.run()
    checkpoint = saved_checkpoints(tmp_path / "checkpoints")[-1]
    for path in (tmp_path / "weights.safetensors", checkpoint):
        trained = read_trained(path)
        assert (trained.preprocessing, trained.configuration) == ("data", configuration)
        for name, array in trainer.model.state_dict().items():
            assert (trained.weights[name] == array).all(), "the averaged weights"
    save_weights(tmp_path / "foreign.safetensors", {"w": np.zeros(2)})
    assert read_trained(tmp_path / "foreign.safetensors").preprocessing == "imagenet"
    np.savez(tmp_path / "foreign.npz", w=np.zeros(2))
    assert read_trained(tmp_path / "foreign.npz").preprocessing == "imagenet"
    with pytest.raises(CheckpointError, match="no such file"):
        read_trained(tmp_path / "missing.pth")


def test_weights_that_do_not_fit(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **{"linear.bias": np.zeros(7, np.float32)})
    trained = read_trained(path)
    with pytest.raises(CheckpointError, match=r"weights are for 7 classes \(linear.bias\), the data set has 10"):
        build_model(trained, "resnet20", 10, path)
    with pytest.raises(CheckpointError, match=r"w.npz: .* missing"):
        build_model(trained, "resnet20", 7, path)
    with pytest.raises(ArgumentError, match="does not say which model it is for"):
        build_model(trained, None, 7, path)
