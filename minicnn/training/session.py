"""A whole training run from a description of it: which model on which data by which recipe."""

import dataclasses
import json
import typing
from dataclasses import dataclass
from pathlib import Path

import minicnn
from kernels import device as devices
from minicnn import data, models
from minicnn.errors import ArgumentError, CheckpointError, MinicnnError
from minicnn.models.recipe import Recipe
from minicnn.training import recipes
from minicnn.training.checkpoint import load_checkpoint, saved_checkpoints
from minicnn.training.trainer import Trainer

RECIPES = ("default", "paper", "lecture")


@dataclass
class Configuration:
    """What decides the numbers of a run, all of it: equal configurations give equal weights, bit for bit.

    model: a name of minicnn.models. data: what data.open_dataset takes. recipe: a Recipe, "default", "paper" or
    "lecture" (prepare puts the Recipe in its place). changes: fields of the recipe to replace (minicnn.training.recipes.
    changed). validation: the share of the training images held out for a Plateau schedule to watch. The rest as in
    minicnn.training.trainer.Options.
    """

    model: str
    data: str
    recipe: str | Recipe = "default"
    changes: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    validation: float = 0.0
    accumulate: int = 1
    clip_norm: float | None = None
    ema_decay: float | None = None
    recompute_batch_norm: bool = False
    limit_batches: int | None = None

    def as_dict(self):
        """As JSON has it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, fields):
        """The configuration that as_dict gave. Raises CheckpointError for anything else."""
        try:
            fields = {name: value for name, value in dict(fields).items() if name != "preprocessing"}
            if isinstance(fields["recipe"], dict):
                steps = tuple(tuple(step) for step in fields["recipe"]["augmentation"])
                fields["recipe"] = _checked(Recipe(**{**fields["recipe"], "augmentation": steps}))
            return _checked(cls(**fields))
        except (TypeError, KeyError, ValueError) as error:
            raise CheckpointError(f"checkpoint: its configuration is not one of this minicnn ({str(error)[:80]}); resume with "
                                  "the version that wrote it") from error


def _checked(settings):
    """A dataclass whose fields have the types that it declares, as those from a file may not; TypeError where not."""
    for name, kind in typing.get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if (isinstance(value, bool) and kind is not bool) or not isinstance(value, int | kind if kind is float else kind):
            raise TypeError(f"{name} is {str(value)[:40]!r}")
    return settings


def open_splits(spec):
    """(training set, test set) of a data specification; where it is undivided, a fifth of the images is the test set."""
    splits = data.available_splits(spec)
    if "train" not in splits:
        whole = data.open_dataset(spec, splits[0])
        return data.split(whole, 0.2)
    tests = [name for name in ("test", "val") if name in splits]
    train = data.open_dataset(spec, "train")
    return (train, data.open_dataset(spec, tests[0])) if tests else data.split(train, 0.2)


def choose_recipe(configuration, model, images):
    """The Recipe of a configuration, its changes made; only "default" looks at the model and the number of training images.

    Raises ArgumentError for one that the model does not have.
    """
    name, info = configuration.recipe, models.info(configuration.model)
    if isinstance(name, Recipe):
        return recipes.changed(name, **configuration.changes)
    if name == "default":
        recipe = recipes.default_recipe(model, images, info.input_shape)
    elif name in info.recipes:
        recipe = info.recipes[name]
    else:
        raise ArgumentError(f"{configuration.model} has no recipe {name!r}; choose from "
                            f"{', '.join(['default', *info.recipes])}")
    return recipes.changed(recipe, **configuration.changes)


def prepare(configuration, *, folder=None, workers=1, device="cpu", **trainer_options):
    """A Trainer for a Configuration, with the model, data, optimiser and schedule that it asks for.

    workers: threads that prepare batches. device: "cpu" or "cuda". trainer_options: keep, checkpoint_every, reporter of
    Trainer. Everything random starts from configuration.seed. Raises ModelError, DataError, ArgumentError, BackendError.
    """
    info = models.info(configuration.model)
    devices.require(device)         # before any data is read
    train, test = open_splits(configuration.data)
    minicnn.seed(configuration.seed)
    model = models.create(configuration.model, num_classes=len(train.classes)).to(device)
    recipe = choose_recipe(configuration, model, len(train))
    configuration = dataclasses.replace(configuration, recipe=recipe, changes={})
    shape, seed = tuple(info.input_shape), configuration.seed
    validation = None
    if configuration.validation:
        train, validation = data.split(train, configuration.validation, seed)
    plain = recipes.test_transform(recipe, test, shape, train)
    loader = data.Loader(train, recipe.batch_size, recipes.train_transform(recipe, train, shape), shuffle=True, seed=seed,
                         workers=workers)
    testing = [None if held is None else data.Loader(held, recipe.batch_size, plain, workers=workers)
               for held in (test, validation)]
    optimizer = recipes.build_optimizer(recipe, model)
    batches = min(len(loader), configuration.limit_batches or len(loader))
    schedule, unit, warmup = recipes.build_schedule(recipe, optimizer, -(-batches // configuration.accumulate))
    return Trainer(
        model, loader, testing[0], optimizer, schedule, warmup=warmup, validation_loader=testing[1], folder=folder,
        configuration={**configuration.as_dict(), "preprocessing": {"mean": list(train.mean), "std": list(train.std)}},
        epochs=recipe.epochs, schedule_unit=unit,
        label_smoothing=recipe.label_smoothing, accumulate=configuration.accumulate, clip_norm=configuration.clip_norm,
        ema_decay=configuration.ema_decay, recompute_batch_norm=configuration.recompute_batch_norm,
        limit_batches=configuration.limit_batches, **trainer_options)


def resume(folder, **options):
    """The Trainer of the run in `folder`, standing where its last checkpoint was; options as in prepare.

    Raises CheckpointError without a checkpoint, or for one that is damaged.
    """
    found = saved_checkpoints(Path(folder) / "checkpoints")
    if not found:
        raise CheckpointError(f"{folder}: there is no checkpoint to resume from; start the run without --resume, or name "
                              "its folder with --out")
    arrays, state = load_checkpoint(found[-1])
    configuration = Configuration.from_dict(state.get("configuration"))
    try:
        trainer = prepare(configuration, folder=folder, **options)
    except MinicnnError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:       # what only a forged configuration asks for
        raise CheckpointError(f"{found[-1]}: its configuration describes no training ({type(error).__name__}: "
                              f"{str(error)[:80]}); resume from a checkpoint that minicnn wrote") from error
    trainer.restore(arrays, state)
    return trainer
