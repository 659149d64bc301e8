"""From a recipe, which is data (minicnn.models.recipe), to transforms, optimiser and schedule."""

import dataclasses

import numpy as np

from minicnn import optim
from minicnn.data import IMAGENET_MEAN, default_transforms, transforms
from minicnn.errors import ArgumentError
from minicnn.models.recipe import Recipe
from minicnn.nn import BatchNorm2d

SCHEDULES = ("constant", "step", "multistep", "plateau", "cosine", "linear")
_FIT_IMAGES = 10_000        # so many images give the statistics of colours and whitening
_MOST_WHITENED = 8192       # values an image; ZCA takes their cube


class Linear(optim.Constant):
    """lr falls linearly to 0 over `total` steps.  Source: Iandola et al. 2016 (SqueezeNet's solver, poly with power 1)."""

    def __init__(self, optimizer, total):
        super().__init__(optimizer)
        self.total = total

    def rate(self):
        return max(0.0, 1 - self.count / self.total)


def default_recipe(model, images, input_shape):
    """A quick recipe for `images` training images: minicnn's own choice, made for minutes rather than records."""
    large, few = max(input_shape[1:]) > 96, images < 10_000
    normalised = any(isinstance(module, BatchNorm2d) for module in model.modules())
    lr = (0.05 if large else 0.1) if normalised else 0.01
    return Recipe(
        source="minicnn's quick default", batch_size=32 if large else 64 if few else 128, epochs=10 if few else 30, lr=lr,
        weight_decay=1e-4, nesterov=True, schedule="cosine", warmup={"steps": 20, "start": 0.1},
        augmentation=(), initial="the model's own", dropout="the model's own")


def changed(recipe, **changes):
    """The recipe with the fields that are not None replaced. A new number of epochs stretches the schedule with it, and
    a new schedule comes with arguments for the recipe's epochs. Raises ArgumentError for a value outside its range.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, least in (("epochs", 1), ("batch_size", 1), ("lr", 0), ("weight_decay", 0), ("momentum", 0)):
        if name in changes and not changes[name] >= least:
            raise ArgumentError(f"{name} {changes[name]} is less than {least}; pass {least} or more")
    epochs = changes.get("epochs", recipe.epochs)
    if "schedule" in changes:
        changes["schedule_args"] = _usual_arguments(changes["schedule"], epochs)
    else:
        changes["schedule_args"] = _stretched(recipe.schedule_args, epochs / recipe.epochs)
    if changes.get("momentum") == 0:
        changes["nesterov"] = False
    return dataclasses.replace(recipe, **changes)


def _usual_arguments(name, epochs):
    """Arguments for a schedule that was asked for by name alone."""
    if name not in SCHEDULES:
        raise ArgumentError(f"there is no schedule {name!r}; choose from {', '.join(SCHEDULES)}")
    return {"step": {"size": max(1, epochs // 3), "factor": 0.1}, "plateau": {"factor": 0.1, "patience": max(1, epochs // 10)},
            "multistep": {"milestones": [epochs // 2, epochs * 3 // 4], "factor": 0.1}}.get(name, {})


def _stretched(args, factor):
    out = dict(args)
    if "milestones" in out:
        out["milestones"] = [max(1, round(milestone * factor)) for milestone in out["milestones"]]
    for name in ("size", "patience"):
        if name in out:
            out[name] = max(1, round(out[name] * factor))
    return out


def build_optimizer(recipe, model):
    """SGD over the model's parameters."""
    return optim.SGD(model.parameters(), recipe.lr, recipe.momentum, recipe.weight_decay, recipe.nesterov)


def build_schedule(recipe, optimizer, updates_per_epoch):
    """(schedule, its unit, "epoch" or "iteration", warm-up or None) for a Trainer. Raises ArgumentError."""
    total, args = recipe.epochs * updates_per_epoch, recipe.schedule_args
    try:
        if recipe.schedule in ("cosine", "linear"):
            schedule = {"cosine": optim.Cosine, "linear": Linear}[recipe.schedule](optimizer, total, **args)
            unit = "iteration"
        else:
            schedule = {"constant": optim.Constant, "step": optim.Step, "multistep": optim.MultiStep,
                        "plateau": optim.Plateau}[recipe.schedule](optimizer, **args)
            unit = "epoch"
    except (KeyError, TypeError) as error:
        raise ArgumentError(f"recipe of {recipe.source}: schedule {recipe.schedule!r} with {args} cannot be built ({error}); "
                            f"choose from {', '.join(SCHEDULES)}") from error
    warmup = optim.WarmUp(optimizer, **recipe.warmup) if recipe.warmup else None
    return schedule, unit, warmup


def train_transform(recipe, dataset, input_shape):
    """The recipe's augmentation as a Compose from images of `dataset` to (C, H, W); data.default_transforms if it has none.

    Crops take the network's size, images are not mirrored where that changes their class, and grey becomes RGB for three
    channels. Raises ArgumentError for a step that is not known.
    """
    if not recipe.augmentation:
        return default_transforms(dataset, input_shape, train=True)
    return _compose(recipe.augmentation, dataset, input_shape)


def test_transform(recipe, dataset, input_shape, train_dataset):
    """What goes with train_transform for testing: one centred crop; whitening fitted to the training images."""
    names = [step[0] for step in recipe.augmentation]
    if "gcn" not in names and "zca" not in names:
        return default_transforms(dataset, input_shape, train=False)
    return _compose([step for step in recipe.augmentation if step[0] in ("gcn", "zca")], train_dataset, input_shape)


def _compose(steps, dataset, input_shape):
    done = []
    if input_shape[0] == 3 and dataset.image(0).shape[2] == 1:
        done.append(transforms.GrayToRGB())
    if not {"random_crop", "random_resized_crop"} & {step[0] for step in steps}:
        done.append(transforms.Resize(tuple(input_shape[1:])))      # those two give the network's size themselves
    for name, *args in steps:
        if name not in _STEPS:
            raise ArgumentError(f"recipe: there is no augmentation {name!r}; choose from {', '.join(_STEPS)}")
        done += _STEPS[name](dataset, tuple(input_shape[1:]), done, *args)
    names = [step[0] for step in steps]
    if "gcn" in names or "zca" in names:
        return transforms.Compose([*done, transforms.to_chw])
    return transforms.Compose(done if "normalize" in names else [*done, *_normalize(dataset, None, done)])


def _scale_jitter(dataset, size, done, least, most):
    return [transforms.RandomScale(least, most)]


def _resize(dataset, size, done, side):
    return [transforms.Resize(side)]


def _random_crop(dataset, size, done, side=None):
    return [transforms.RandomCrop(size)]


def _random_resized_crop(dataset, size, done, side=None):
    return [transforms.RandomResizedCrop(size)]


def _pad_crop(dataset, size, done, padding=4):
    return [transforms.PadCrop(size, padding)]


def _flip(dataset, size, done):
    return [transforms.HorizontalFlip()] if dataset.mirrorable else []


def _color_pca(dataset, size, done, std=0.1):
    if dataset.mean == IMAGENET_MEAN:
        return [transforms.ColorPCA(std=std)]
    grey = transforms.GrayToRGB()
    return [transforms.ColorPCA(*transforms.fit_pca(grey(image) for image in _some_images(dataset)), std=std)]


def _photometric(dataset, size, done):
    return [transforms.PhotometricDistortion()]


def _normalize(dataset, size, done):
    return [transforms.Normalize(dataset.mean, dataset.std)]


def _gcn(dataset, size, done):
    return [transforms.GlobalContrastNormalize()]


def _zca(dataset, size, done):
    """Fitted to the training images at the network's size, contrast-normalised if that step comes before."""
    channels = 3 if any(isinstance(step, transforms.GrayToRGB) for step in done) else dataset.image(0).shape[2]
    if size[0] * size[1] * channels > _MOST_WHITENED:
        raise ArgumentError(f"recipe: ZCA whitening of {channels}x{size[0]}x{size[1]} values takes too much memory and "
                            f"time; it is meant for at most {_MOST_WHITENED}, such as CIFAR: choose another recipe")
    fixed = [step for step in done if isinstance(step, transforms.GrayToRGB | transforms.GlobalContrastNormalize)]
    steps = transforms.Compose([transforms.Resize(size), *fixed])
    images = np.stack([steps(image) for image in _some_images(dataset)])
    return [transforms.ZCA.fit(images if images.dtype.kind == "f" else images.astype(np.float32))]


def _some_images(dataset):
    return (dataset.image(int(i)) for i in np.unique(np.linspace(0, len(dataset) - 1, _FIT_IMAGES).astype(int)))


_STEPS = {"scale_jitter": _scale_jitter, "resize": _resize, "random_crop": _random_crop, "pad_crop": _pad_crop,
          "random_resized_crop": _random_resized_crop, "flip": _flip, "color_pca": _color_pca, "photometric": _photometric,
          "normalize": _normalize, "gcn": _gcn, "zca": _zca}


def describe(recipe):
    """(name, text) for each field of a recipe that says something, for people."""
    args = ", ".join(f"{name} {value}" for name, value in recipe.schedule_args.items())
    steps = "; ".join(" ".join(str(part) for part in step) for step in recipe.augmentation) or "the data set's usual"
    pairs = [("source", recipe.source), ("batch size", recipe.batch_size), ("epochs", recipe.epochs),
             ("learning rate", f"{recipe.lr:g}, {recipe.schedule}" + (f" ({args})" if args else "")),
             ("momentum", f"{recipe.momentum:g}" + (", Nesterov" if recipe.nesterov else "")),
             ("weight decay", f"{recipe.weight_decay:g}"), ("augmentation", steps), ("initial weights", recipe.initial),
             ("dropout", recipe.dropout), ("validation", recipe.validation), ("notes", recipe.notes)]
    if recipe.warmup:
        pairs.insert(4, ("warm-up", f"{recipe.warmup['steps']} iterations from {recipe.warmup.get('start', 0.1):g} of it"))
    if recipe.label_smoothing:
        pairs.append(("label smoothing", f"{recipe.label_smoothing:g}"))
    if recipe.auxiliary_weight:
        pairs.append(("auxiliary losses", f"weight {recipe.auxiliary_weight:g} each"))
    return [(name, value) for name, value in pairs if value not in ("", None)]
