"""Recipes become transforms, optimisers and schedules."""

import numpy as np
import pytest

from minicnn import data, models, optim
from minicnn.data import sample_streams, transforms
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.models.recipe import Recipe
from minicnn.training import Configuration, prepare, recipes
from minicnn.training.session import open_splits

COLOUR = data.ArrayDataset(np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8), [0, 1] * 20, ["a", "b"])
DIGITS = data.load_digits("train")


def recipe(**fields):
    return Recipe(**{"source": "a test", "batch_size": 8, "epochs": 20, "lr": 0.1, "weight_decay": 1e-4, **fields})


def optimizer():
    return recipes.build_optimizer(recipe(), models.create("resnet20"))


@pytest.mark.parametrize("name", models.names())
def test_every_registered_recipe_builds(name):
    for each in models.info(name).recipes.values():
        assert recipes.describe(each)
        optimiser = optim.SGD([models.create("resnet20").linear.bias], each.lr, each.momentum, each.weight_decay, each.nesterov)
        schedule, unit, _ = recipes.build_schedule(each, optimiser, 10)
        for _ in range(each.epochs):
            schedule.step(0.5)
        assert unit in ("epoch", "iteration")
        shape = (3, 8, 8)       # the sizes are the network's; whitening is quick for small ones
        image = recipes.train_transform(each, COLOUR, shape)(COLOUR.image(0), sample_streams(0, 0, [0])[0])
        assert (image.shape, image.dtype) == (shape, np.float32)
        assert recipes.test_transform(each, COLOUR, shape, COLOUR)(COLOUR.image(0)).shape == shape


@pytest.mark.parametrize(("fields", "rates"), [
    ({"schedule": "constant"}, [1, 1, 1, 1]),
    ({"schedule": "step", "schedule_args": {"size": 2, "factor": 0.5}}, [1, 1, .5, .5]),
    ({"schedule": "multistep", "schedule_args": {"milestones": [1, 3]}}, [1, .1, .1, .01]),
    ({"schedule": "plateau", "schedule_args": {"patience": 1}}, [1, 1, 1, .1]),
    ({"schedule": "linear"}, [1, .75, .5, .25]), ({"schedule": "cosine"}, [1, .853553, .5, .146447])])
def test_schedules_by_name(fields, rates):
    sgd = optimizer()
    schedule, unit, warmup = recipes.build_schedule(recipe(epochs=2, **fields), sgd, 2)
    assert warmup is None
    assert unit == ("iteration" if fields["schedule"] in ("linear", "cosine") else "epoch")
    found = []
    for _ in rates:
        found.append(sgd.lr / 0.1)
        schedule.step(1.0)
    assert found == pytest.approx(rates, abs=1e-6)


def test_schedules_that_cannot_be_built():
    with pytest.raises(ArgumentError, match=r"schedule 'sine' with .* choose from constant, step"):
        recipes.build_schedule(recipe(schedule="sine"), optimizer(), 1)
    with pytest.raises(ArgumentError, match="schedule 'step' with {} cannot be built"):
        recipes.build_schedule(recipe(schedule="step"), optimizer(), 1)


def test_another_number_of_epochs_stretches_the_schedule():
    paper = recipe(schedule="multistep", schedule_args={"milestones": [10, 15], "factor": 0.2})
    assert recipes.changed(paper, epochs=100).schedule_args == {"milestones": [50, 75], "factor": 0.2}
    assert recipes.changed(paper, epochs=1).schedule_args["milestones"] == [1, 1]
    assert recipes.changed(paper, lr=0.5, epochs=None) == recipe(
        lr=0.5, schedule="multistep", schedule_args={"milestones": [10, 15], "factor": 0.2})
    by_name = recipes.changed(paper, epochs=30, schedule="step")
    assert by_name.schedule_args == {"size": 10, "factor": 0.1}
    assert not recipes.changed(recipe(nesterov=True), momentum=0.0).nesterov


@pytest.mark.parametrize(("change", "message"), [
    ({"epochs": 0}, "epochs 0 is less than 1"), ({"lr": -1.0}, "lr -1.0 is less than 0"),
    ({"schedule": "sine"}, "no schedule 'sine'; choose from constant"), ({"lr": float("nan")}, "lr nan is less than 0")])
def test_changes_outside_their_range(change, message):
    with pytest.raises(ArgumentError, match=message):
        recipes.changed(recipe(), **change)


def kinds(compose):
    return [type(step).__name__ for step in compose.transforms]


def test_augmentation_becomes_transforms():
    steps = (("scale_jitter", 20, 24), ("random_crop", 224), ("flip",), ("color_pca", 0.1), ("photometric",))
    made = recipes.train_transform(recipe(augmentation=steps), COLOUR, (3, 16, 16))
    assert kinds(made) == ["RandomScale", "RandomCrop", "HorizontalFlip", "ColorPCA", "PhotometricDistortion", "Normalize"]
    assert not np.allclose(made.transforms[3].eigenvalues, transforms.IMAGENET_EIGENVALUES), "fitted to the data"
    made = recipes.train_transform(recipe(augmentation=(("pad_crop", 4), ("flip",), ("normalize",))), DIGITS, (3, 32, 32))
    assert kinds(made) == ["GrayToRGB", "Resize", "PadCrop", "Normalize"], "digits are not mirrored"
    made = recipes.train_transform(recipe(), COLOUR, (3, 16, 16))
    assert kinds(made) == kinds(data.default_transforms(COLOUR, (3, 16, 16), train=True))
    with pytest.raises(ArgumentError, match="no augmentation 'mixup'; choose from scale_jitter"):
        recipes.train_transform(recipe(augmentation=(("mixup",),)), COLOUR, (3, 16, 16))


def test_whitening_is_fitted_to_training_images_and_used_in_testing():
    steps = (("pad_crop", 2), ("flip",), ("gcn",), ("zca",))
    train = recipes.train_transform(recipe(augmentation=steps), COLOUR, (3, 8, 8))
    test = recipes.test_transform(recipe(augmentation=steps), COLOUR, (3, 8, 8), COLOUR)
    assert kinds(train) == ["Resize", "PadCrop", "HorizontalFlip", "GlobalContrastNormalize", "ZCA", "_ToChw"]
    assert kinds(test) == ["Resize", "GlobalContrastNormalize", "ZCA", "_ToChw"]
    assert (train.transforms[4].matrix == test.transforms[2].matrix).all()
    with pytest.raises(ArgumentError, match="ZCA whitening of 3x224x224 values"):
        recipes.train_transform(recipe(augmentation=steps), COLOUR, (3, 224, 224))


def test_the_default_fits_the_data_and_the_network():
    model = models.create("resnet20")
    assert recipes.default_recipe(model, 1437, (3, 32, 32)).batch_size == 64
    assert recipes.default_recipe(model, 50_000, (3, 32, 32)).batch_size == 128
    assert recipes.default_recipe(model, 50_000, (3, 224, 224)).batch_size == 32
    assert recipes.default_recipe(model.linear, 1437, (3, 32, 32)).lr == 0.01, "no batch norm"


def test_configurations_go_through_json():
    configuration = Configuration("resnet20", "digits", recipe(augmentation=(("pad_crop", 4), ("flip",))), seed=4)
    assert Configuration.from_dict(configuration.as_dict()) == configuration
    with pytest.raises(CheckpointError, match="its configuration is not one of this minicnn"):
        Configuration.from_dict({"model": "resnet20", "bogus": 1})


def test_prepare_puts_the_recipe_together():
    changes = {"epochs": 4, "batch_size": 32}
    trainer = prepare(Configuration("resnet20", "digits", "paper", changes, validation=0.1, accumulate=2))
    assert len(trainer.train_loader.dataset) == 1293
    assert len(trainer.validation_loader.dataset) == 144
    assert trainer.schedule.milestones == [2, 3]
    assert trainer.optimizer.weight_decay == 1e-4
    assert trainer.configuration["preprocessing"]["mean"] == list(DIGITS.mean)
    with pytest.raises(ArgumentError, match="resnet20 has no recipe 'lecture'; choose from default, paper"):
        prepare(Configuration("resnet20", "digits", "lecture"))


def test_undivided_images_give_a_fifth_to_testing(tmp_path):
    from PIL import Image
    for i in range(20):
        folder = tmp_path / "ab"[i % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")
    train, test = open_splits(tmp_path)
    assert (len(train), len(test)) == (16, 4)
