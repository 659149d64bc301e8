"""minicnn study MODEL"""

HELP = "look at a network from all sides and write a page about it"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("model", help="a name that `minicnn models` lists, or FILE.py:CLASS for a module of your own")
    parser.add_argument("--image", metavar="PHOTO", help="the image to look at (default: the first test image of the data)")
    parser.add_argument("--data", metavar="DATA", help="digits, or the folder of a data set: the network is trained on it, "
                        "unless there are weights (default: digits if neither an image nor weights are given)")
    parser.add_argument("--weights", metavar="FILE", help="trained weights: minicnn's, .pth, .th, .safetensors, .npz, .net")
    parser.add_argument("--class", dest="target", metavar="CLASS", help="number or name of the class looked at (the likeliest)")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="which test image, where no photograph is given (0)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the network's input (the model's usual one)")
    parser.add_argument("--epochs", type=int, metavar="N", help="how long to train (default: 5 on digits, else the recipe's)")
    parser.add_argument("--out", metavar="FOLDER", help="where the page goes (study-MODEL)")
    parser.add_argument("--quick", action="store_true", help="two batches and short timings: only to see that all works")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, the progress on stderr")


def run(args):
    """Study the network, write the page and say where it is; 1 if a gradient or a kernel is wrong."""
    from pathlib import Path

    from minicnn.cli.output import print_json, progress, say
    from minicnn.study.report import write_report
    from minicnn.study.run import study_model
    if not (args.image or args.weights or args.data):
        args.data = "digits"
    plan = _plan(args)
    folder = Path(args.out or f"study-{plan['name']}")
    folder.mkdir(parents=True, exist_ok=True)       # that it cannot be made is told before minutes of work
    listener = Console(stderr=args.json)
    study = study_model(**plan, quick=args.quick, reporter=listener.training(), listener=listener)
    study.again = _again(args)
    with progress("Writing the page", 1 + len(study.look.nodes if study.look else ())) as advance:
        path = write_report(study, folder, lambda done, of: advance(1))
    if args.json:
        print_json({**study.as_dict(), "page": str(path)})
    say(stderr=args.json)
    say(f"The page: {path.resolve()} ({path.stat().st_size / 1e6:.1f} MB)", stderr=args.json)
    say("Open it in a browser. Next: minicnn train to train longer, minicnn compare to see other networks beside it.",
        stderr=args.json)
    return 0 if study.right else 1


def _plan(args):
    """The arguments of study_model: the model, what it is trained on, and the image to look at."""
    from minicnn import data, models
    from minicnn.study.images import class_names, of_dataset, read_image
    from minicnn.study.page import BATCH_LARGE, subject_of, target_of
    own = ":" in args.model
    info = None if own else models.info(args.model)
    trained, classes = _weights(args), None
    dataset = data.open_dataset(args.data, "train" if trained is None else _split(args.data)) if args.data else None
    if dataset is not None:
        classes = len(dataset.classes)
    model = _model(args, trained, classes)
    shape = _shape(args, info, trained, dataset)
    names = list(dataset.classes) if dataset is not None else None
    plan = {"model": model, "name": args.model.rpartition(":")[2], "dataset": args.data if trained is None else None,
            "epochs": args.epochs or (5 if args.data == "digits" else None), "subject": None, "index": args.index}
    if args.image:
        picture = read_image(args.image)
        kind, mean, std = _values(trained, dataset)
        plan["subject"] = subject_of(picture, shape, kind, mean, std)
        plan["subject"].names = names = names or class_names(_count(model), info)
    elif trained is not None:
        plan["subject"] = of_dataset(dataset, _transform(trained, dataset, shape), shape, args.index)
    if plan["subject"] is not None:
        shape = plan["subject"].x.shape
    plan["target"] = target_of(args.target, names)
    if max(shape[1:]) > 96 and plan["dataset"] is None:
        plan["batch"] = BATCH_LARGE
    return {**plan, "input_shape": tuple(shape)}


def _weights(args):
    from minicnn.errors import ArgumentError
    from minicnn.training.trained import read_trained
    if args.weights and not (args.image or args.data):
        raise ArgumentError("weights, but nothing to look at; add --image PHOTO, or --data DATA for one of its test images")
    return read_trained(args.weights) if args.weights else None


def _split(name):
    from minicnn import data
    splits = data.available_splits(name)
    return next((split for split in ("test", "val") if split in splits), splits[0])


def _model(args, trained, classes):
    """The network with its weights, for the classes of the data or else of the weights."""
    from minicnn import models
    from minicnn.study.page import read_module
    from minicnn.training.trained import build_model
    if ":" in args.model:
        model = read_module(args.model)
        if trained is not None:
            model.load_state_dict(trained.weights)
        return model
    if trained is None:
        return models.create(args.model, **({} if classes is None else {"num_classes": classes}))
    if classes is None:
        last = [array for array in trained.weights.values() if array.ndim][-1]
        classes = len(last)
    return build_model(trained, args.model, classes, args.weights)


def _shape(args, info, trained, dataset):
    """(C, H, W) of the input; None to take a photograph as it is."""
    channels, height, width = info.input_shape if info else (3, None, None)
    if info is None and dataset is not None:
        height, width, channels = dataset.image(0).shape
    side = args.size or (trained.side if trained is not None else None)
    if side:
        return channels, side, side
    return (channels, height, width) if height else None


def _values(trained, dataset):
    """(preprocessing, mean, std) for a photograph."""
    learnt = trained.configuration.get("preprocessing", {}) if trained is not None else {}
    if trained is not None and trained.preprocessing != "data":
        return trained.preprocessing, None, None
    if learnt.get("mean"):
        return "imagenet", learnt["mean"], learnt["std"]
    return ("imagenet", None, None) if dataset is None else ("imagenet", dataset.mean, dataset.std)


def _transform(trained, dataset, shape):
    from minicnn.training.preprocessing import evaluation_transforms, value_transform
    learnt = trained.configuration.get("preprocessing", {})
    values = value_transform(trained.preprocessing, dataset, learnt.get("mean"), learnt.get("std"))
    return evaluation_transforms(dataset, shape, "single", values)[0]


def _count(model):
    """How many classes a network tells apart, by its last weights."""
    shapes = [parameter.shape for parameter in model.parameters()]
    return shapes[-1][0] if shapes else 0


def _again(args):
    """The command that makes this page."""
    import shlex
    parts = ["minicnn", "study", args.model]
    for name in ("image", "data", "weights", "size", "epochs", "out"):
        if getattr(args, name) is not None:
            parts += [f"--{name}", str(getattr(args, name))]
    parts += ["--class", args.target] if args.target else []
    parts += ["--index", str(args.index)] if args.index else []
    return shlex.join([*parts, *(["--quick"] if args.quick else [])])


class Console:
    """Tells how a study goes on: a heading and a bar for each part, and what came out of it."""

    HEADINGS = {"summary": "What it is made of", "gradients": "Gradient check, layer by layer", "timing": "Time of each layer",
                "training": "Training", "kernels": "Kernels", "look": "One image's way through it"}

    def __init__(self, stderr):
        self.stderr, self.bar = stderr, None

    def training(self):
        """A reporter for the trainer."""
        from minicnn.cli.output import console
        from minicnn.training.progress import Lines, Live
        out = console(self.stderr)
        return Live(out) if out.is_terminal else Lines(out.file)

    def begin(self, part):
        from minicnn.cli.output import say
        say(f"\n{self.HEADINGS[part]}", self.stderr)

    def step(self, part, done, of, note):
        from minicnn.cli.output import progress
        if self.bar is None:
            self.bar = progress(self.HEADINGS[part], of)
            self.advance, self.done = self.bar.__enter__(), 0
        self.advance(done - self.done, note)
        self.done = done
        if done == of:
            self._close()

    def _close(self):
        if self.bar is not None:
            bar, self.bar = self.bar, None
            bar.__exit__(None, None, None)

    def end(self, part, study):
        from minicnn.cli.output import say
        self._close()
        for line in getattr(self, f"_{part}", lambda study: ())(study):
            say(line, self.stderr)

    def _summary(self, study):
        return str(study.summary).splitlines()

    def _gradients(self, study):
        from minicnn.study.figures import error
        for check in study.checks:
            alike = f" and {check.alike - 1} alike" if check.alike > 1 else ""
            verdict = "right" if check.passed else "WRONG"
            yield (f"  {verdict}  {check.operation:<16} {check.path or '(network)'}{alike}, largest difference "
                   f"{error(check.error)}")
            if not check.passed:
                yield check.message

    def _timing(self, study):
        from minicnn.study.figures import duration
        kinds = {}
        for layer in study.times:
            forward, backward = kinds.get(layer.operation, (0.0, 0.0))
            kinds[layer.operation] = forward + layer.forward, backward + layer.backward
        for kind, (forward, backward) in sorted(kinds.items(), key=lambda item: -sum(item[1])):
            yield f"  {kind:<18} forward {duration(forward):>8}   backward {duration(backward):>8}"
        total = sum(map(sum, kinds.values()))
        yield f"  {study.batch} images in {duration(total)}: {study.batch / total:.0f} images/s"

    def _kernels(self, study):
        from minicnn.study.figures import duration
        for result in study.kernels:
            yield f"  {result.title}, {result.detail}"
            for row in result.rows:
                gain = f"   x {row.gain:.1f}" if row.gain else ""
                what = "differs from reference, not timed"
                if row.agrees:
                    rate = f"{row.rate:8.3g} {result.unit}" if row.rate else "  a view"
                    what = f"{duration(row.warm):>8} {rate}{gain}"
                yield f"    {row.rung:<14} {row.direction:<9} {what}"

    def _look(self, study):
        label = f"; it is {study.look.label}" if study.look.label else ""
        likely = sorted(study.look.answers, key=lambda answer: -answer.probability)
        yield "  " + ", ".join(f"{answer.name} {answer.probability:.1%}" for answer in likely[:3]) + label
