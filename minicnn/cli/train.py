"""minicnn train MODEL --data DATA"""

import itertools

HELP = "train a registered model on a data set, with checkpoints, metrics and --resume"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("model", help="a name that `minicnn models` lists")
    parser.add_argument("--data", default="digits", help="digits, or the path of a data set (digits)")
    recipe = parser.add_argument_group("recipe", "how to train; what is not given comes from the recipe")
    recipe.add_argument("--recipe", choices=("default", "paper", "lecture"), help="a quick one, the paper's, the lecture's")
    recipe.add_argument("--dry-run", action="store_true", help="print the recipe and stop; a paper's needs no data for that")
    recipe.add_argument("--epochs", type=int, help="another number stretches the schedule with it")
    recipe.add_argument("--batch-size", type=int)
    recipe.add_argument("--lr", type=float, help="learning rate")
    recipe.add_argument("--momentum", type=float)
    recipe.add_argument("--weight-decay", type=float)
    recipe.add_argument("--schedule", help="constant, step, multistep, plateau, cosine or linear")
    recipe.add_argument("--label-smoothing", type=float)
    recipe.add_argument("--accumulate", type=int, metavar="N", help="average the gradients of N batches into one update")
    recipe.add_argument("--clip-norm", type=float, metavar="NORM", help="scale gradients down to this L2 norm")
    recipe.add_argument("--ema-decay", type=float, metavar="D", help="test and keep a moving average of the weights (.999)")
    recipe.add_argument("--recompute-batch-norm", action="store_true", default=None,
                        help="compute batch norm's statistics anew at the end, as He et al. do")
    recipe.add_argument("--validation", type=float, metavar="SHARE", help="hold out this share of the training images, for "
                        "a plateau schedule to watch")
    recipe.add_argument("--seed", type=int, help="of everything random (0)")
    recipe.add_argument("--limit-batches", type=int, metavar="N", help="end each epoch after N batches, to try things out")
    run_group = parser.add_argument_group("run")
    run_group.add_argument("--out", metavar="FOLDER", help="where the run's files go (runs/MODEL-DATA)")
    run_group.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out, bit for bit")
    run_group.add_argument("--checkpoint-every", type=int, metavar="N", help="a checkpoint every N batches, too")
    run_group.add_argument("--keep", type=int, default=3, metavar="N", help="how many checkpoints stay (3)")
    run_group.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to train (cpu); cuda needs an "
                           "NVIDIA GPU and the extra cuda; `minicnn doctor` says whether it works")
    run_group.add_argument("--threads", type=int, help="of the kernels (all cores); any number gives the same result")
    run_group.add_argument("--workers", type=int, default=1, help="threads that prepare batches (1)")
    run_group.add_argument("--tensorboard", action="store_true", help="write the metrics for TensorBoard, too")
    run_group.add_argument("--json", action="store_true", help="print the result as JSON, progress on stderr")


_RECIPE_FIELDS = ("epochs", "batch_size", "lr", "momentum", "weight_decay", "schedule", "label_smoothing")
_RUN_FIELDS = ("recipe", "accumulate", "clip_norm", "ema_decay", "recompute_batch_norm", "validation", "seed",
               "limit_batches")


def run(args):
    """Train; returns the exit status."""
    import kernels.threads
    from minicnn.cli.output import say
    if args.threads:
        kernels.threads.set_num_threads(args.threads)
    if args.dry_run:
        return _print_recipe(args)
    trainer = _resumed(args) if args.resume else _started(args)
    if trainer.epoch >= trainer.options.epochs:
        say(f"{trainer.folder}: all {trainer.options.epochs} epochs are done", stderr=args.json)
    elif args.resume:
        say(f"going on in {trainer.folder} after epoch {trainer.epoch}, batch {trainer.batch}", stderr=args.json)
    else:
        _print_start(args, trainer)
    try:
        trainer.run()
    except KeyboardInterrupt:
        _print_how_to_go_on(args, trainer)
        return 130
    _print_result(args, trainer)
    return 0


def _configuration(args):
    from minicnn.training import Configuration
    fields = {name: getattr(args, name) for name in _RUN_FIELDS if getattr(args, name) is not None}
    changes = {name: getattr(args, name) for name in _RECIPE_FIELDS if getattr(args, name) is not None}
    return Configuration(args.model, args.data, changes=changes, **fields)


def _options(args, folder):
    return {"folder": folder, "keep": args.keep, "checkpoint_every": args.checkpoint_every, "workers": args.workers,
            "device": args.device, "reporter": _reporter(args, folder)}


def _reporter(args, folder):
    import sys
    from pathlib import Path

    from minicnn.cli.output import console
    from minicnn.training.progress import Lines, Live, Several
    out = console(stderr=args.json)
    shown = Live(out) if out.is_terminal else Lines(sys.stderr if args.json else sys.stdout)
    if not args.tensorboard:
        return shown
    from minicnn.training.tensorboard import TensorBoard
    return Several(shown, TensorBoard(Path(folder) / "tensorboard"))


def _started(args):
    """The trainer of a new run, in a folder that has none."""
    from minicnn.errors import ArgumentError
    from minicnn.training import prepare, saved_checkpoints
    folder = args.out
    if folder is None:
        folder = next(path for path in _default_folders(args) if not saved_checkpoints(path / "checkpoints"))
    elif saved_checkpoints(f"{folder}/checkpoints"):
        raise ArgumentError(f"{folder} has the checkpoints of a run; add --resume to go on with it, or choose another --out")
    return prepare(_configuration(args), **_options(args, folder))


def _resumed(args):
    """The trainer of the run in --out, or of the latest run with this model and data."""
    from minicnn.training import resume, saved_checkpoints
    folder = args.out
    if folder is None:
        folders = _default_folders(args)
        folder = next(folders)
        for later in itertools.takewhile(lambda path: saved_checkpoints(path / "checkpoints"), folders):
            folder = later
    trainer = resume(**_options(args, folder))
    _refuse_changes(args, trainer)
    return trainer


def _refuse_changes(args, trainer):
    """Raise ArgumentError where the command line asks for another run than the checkpoint's."""
    from minicnn.errors import ArgumentError
    kept = trainer.configuration
    asked = {"model": args.model, "data": args.data, **{name: getattr(args, name) for name in _RUN_FIELDS[1:]},
             **{name: getattr(args, name) for name in _RECIPE_FIELDS}}
    for name, value in asked.items():
        before = kept["recipe"][name] if name in _RECIPE_FIELDS else kept[name]
        if value is not None and value != before:
            raise ArgumentError(f"--resume goes on with {name.replace('_', ' ')} {before}, not {value}; leave the option out, "
                                "or start a new run with another --out")


def _default_folders(args):
    """runs/resnet20-digits, runs/resnet20-digits-2, … without end."""
    from pathlib import Path
    name = f"{args.model}-{Path(args.data).stem or 'data'}"
    yield Path("runs", name)
    for i in itertools.count(2):
        yield Path("runs", f"{name}-{i}")


def _print_recipe(args):
    """A paper's recipe is the same for any data, which need not be there; the default one goes by the number of images."""
    from minicnn import models
    from minicnn.cli.output import print_json, print_pairs
    from minicnn.training import recipes
    from minicnn.training.session import choose_recipe, open_splits
    model, images = None, None
    if args.recipe in (None, "default"):
        train, _ = open_splits(args.data)
        model, images = models.create(args.model, num_classes=len(train.classes)), len(train)
    recipe = choose_recipe(_configuration(args), model, images)
    if args.json:
        print_json(vars(recipe))
    else:
        print_pairs(recipes.describe(recipe), f"{args.model} on {args.data}, recipe {args.recipe or 'default'}")
    return 0


def _print_start(args, trainer):
    from minicnn.cli.output import say
    train, test = trainer.train_loader, trainer.test_loader
    recipe = trainer.configuration["recipe"]
    parameters = sum(p.size for p in trainer.model.parameters())
    say(f"{args.model}: {parameters:,} parameters; {args.data}: {len(train.dataset):,} images to train, "
        f"{len(test.dataset):,} to test, {len(train.dataset.classes)} classes", stderr=args.json)
    say(f"recipe: {recipe['source']}; batch {train.batch_size}, {trainer.options.epochs} epochs, lr {recipe['lr']:g}, "
        f"{recipe['schedule']} schedule; files in {trainer.folder}", stderr=args.json)


def _command(args, trainer):
    from shlex import quote
    return f"minicnn train {quote(args.model)} --data {quote(args.data)} --out {quote(str(trainer.folder))} --resume"


def _print_how_to_go_on(args, trainer):
    from minicnn.cli.output import say
    last = trainer.checkpoints.latest()
    if last is None:
        say("interrupted before the first checkpoint; --checkpoint-every N writes one every N batches", stderr=True)
    else:
        say(f"interrupted; {last} is kept. To go on:\n  {_command(args, trainer)}", stderr=True)


def _print_result(args, trainer):
    from shlex import quote

    from minicnn.cli.output import print_json, say
    weights = trainer.folder / "weights.safetensors"
    if args.json:
        print_json({"model": args.model, "data": args.data, **trainer.history[-1], "weights": str(weights),
                    "folder": str(trainer.folder), "history": trainer.history})
        return
    last = trainer.history[-1]
    say(f"done: {last['test_accuracy']:.2%} of the test images right; metrics in {trainer.folder / 'metrics.csv'}. Next:")
    if args.tensorboard:
        say(f"  tensorboard --logdir {quote(str(trainer.folder / 'tensorboard'))}")
    say(f"  minicnn curves {quote(str(trainer.folder))}")
    say(f"  minicnn eval {quote(args.model)} --weights {quote(str(weights))} --data {quote(args.data)}")
