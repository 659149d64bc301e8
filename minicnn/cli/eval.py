"""minicnn eval MODEL --weights FILE --data DATA"""

HELP = "count the right answers of trained weights on a data set: single crop, 10-crop, dense, ensembles"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("model", nargs="?", help="a name that `minicnn models` lists; files that minicnn wrote know theirs")
    parser.add_argument("--weights", metavar="FILE", help="minicnn's, a checkpoint, .pth, .th, .safetensors, .npz, .net")
    parser.add_argument("--ensemble", nargs="+", metavar="FILE", default=[], help="several files: softmax outputs are averaged")
    parser.add_argument("--data", default="digits", help="digits, or the path of a data set (digits)")
    parser.add_argument("--split", help="which images (test, else val, else all there are)")
    parser.add_argument("--crops", choices=("single", "10", "144", "dense", "multiscale"), default="single",
                        help="views of each image to average over (single)")
    parser.add_argument("--preprocessing", choices=("data", "imagenet", "caffe"), help="by which mean and std, default: what "
                        "minicnn trained with, caffe for .net files, ImageNet's for weights from elsewhere")
    parser.add_argument("--mean", type=float, nargs="+", metavar="M", help="of each channel, of pixels in 0..1")
    parser.add_argument("--std", type=float, nargs="+", metavar="S", help="likewise")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the network's input (the model's usual one)")
    parser.add_argument("--batch-size", type=int, default=50, help="images at once (50)")
    parser.add_argument("--limit-batches", type=int, metavar="N", help="only the first N batches")
    parser.add_argument("--threads", type=int, help="of the kernels (all cores)")
    parser.add_argument("--json", action="store_true", help='print {"top1": count, "top5": count, "n": images, …}')


_WHOLE = ("dense", "multiscale")


def run(args):
    """Evaluate and print; returns the exit status."""
    import kernels.threads
    from minicnn import models
    from minicnn.cli.output import progress
    from minicnn.errors import ArgumentError
    from minicnn.training.evaluate import evaluate
    from minicnn.training.trained import build_model, read_trained
    if args.model:
        models.info(args.model)         # an unknown name is said before anything is read
    if args.threads:
        kernels.threads.set_num_threads(args.threads)
    paths = [*([args.weights] if args.weights else []), *args.ensemble]
    if not paths:
        raise ArgumentError("no weights to evaluate; pass --weights FILE or --ensemble FILE FILE …")
    dataset = _open(args)
    trained = [read_trained(path) for path in paths]
    classes = len(dataset.classes)
    built = [build_model(each, args.model, classes, path) for each, path in zip(trained, paths)]
    if args.crops in _WHOLE:
        built = [_dense(model) for model in built]
    loaders = _loaders(args, dataset, trained)
    images = min(len(dataset), (args.limit_batches or len(loaders[0])) * loaders[0].batch_size)
    with progress("evaluating", images) as advance:
        score = evaluate(built, *loaders, limit_batches=args.limit_batches, advance=advance)
    _print(args, paths, dataset, score)
    return 0


def _dense(model):
    """The model for whole images: fully connected layers as convolutions; others take any size as they are."""
    from minicnn import models
    from minicnn.errors import ModelError
    try:
        return models.fully_convolutional(model)
    except ModelError:
        return model


def _open(args):
    from minicnn import data
    splits = data.available_splits(args.data)
    split = args.split or next((name for name in ("test", "val") if name in splits), splits[0])
    return data.open_dataset(args.data, split)


def _loaders(args, dataset, trained):
    """A loader for each view of the images. An ensemble's members must see the same ones."""
    from minicnn.data import Loader
    from minicnn.errors import ArgumentError
    kinds = [(_shape(args, each), _values(args, each, dataset)) for each in trained]
    if any(repr(kind) != repr(kinds[0]) for kind in kinds):
        raise ArgumentError("the ensemble's members expect different preprocessing or sizes; give --preprocessing (or --mean "
                            "and --std) and --size for all of them")
    views = _whitened(args, trained[0], dataset) or _views(args, dataset, *kinds[0])
    # Images of unequal sizes go one by one.
    size = 1 if args.crops in _WHOLE else max(1, args.batch_size // {"10": 10, "144": 144}.get(args.crops, 1))
    return [Loader(dataset, size, view) for view in views]


def _shape(args, trained):
    from minicnn import models
    channels, height, width = models.info(args.model or trained.configuration["model"]).input_shape
    side = args.size or trained.side
    return (channels, side, side) if side else (channels, height, width)


def _values(args, trained, dataset):
    from minicnn.training.preprocessing import value_transform
    learnt = trained.configuration.get("preprocessing", {}) if args.preprocessing is None else {}
    mean, std = args.mean or learnt.get("mean"), args.std or learnt.get("std")
    return value_transform(args.preprocessing or trained.preprocessing, dataset, mean, std)


def _views(args, dataset, shape, values):
    from minicnn.training.preprocessing import evaluation_transforms
    return evaluation_transforms(dataset, shape, args.crops, values)


def _whitened(args, trained, dataset):
    """For weights that minicnn trained on whitened images: the whitening, fitted again to the training images."""
    from minicnn import data
    from minicnn.errors import ArgumentError
    from minicnn.training import Configuration, recipes
    recipe = trained.configuration.get("recipe", {})
    if args.preprocessing or not {"gcn", "zca"} & {step[0] for step in recipe.get("augmentation", [])}:
        return None
    if args.crops != "single":
        raise ArgumentError("these weights expect whitened images, of which there is a single crop; leave --crops out")
    configuration = Configuration.from_dict(trained.configuration)
    train = data.open_dataset(args.data, "train")
    return [recipes.test_transform(configuration.recipe, dataset, _shape(args, trained), train)]


def _print(args, paths, dataset, score):
    from minicnn.cli.output import print_json, print_pairs, say
    if args.json:
        print_json({"model": args.model, "weights": [str(path) for path in paths], "data": args.data, "crops": args.crops,
                    **score.as_dict()})
        return
    print_pairs([("top-1", f"{score.top1:,} of {score.n:,} right, {score.accuracy:.2%} (error {1 - score.accuracy:.2%})"),
                 ("top-5", f"{score.top5:,} of {score.n:,} right, {score.top5_accuracy:.2%}"),
                 ("loss", f"{score.loss:.4f}")],
                f"{' + '.join(paths)} on {dataset.name}, {args.crops} crop{'' if args.crops == 'single' else 's'}")
    say("Next: --crops 10 or dense averages over views of each image, --ensemble over several files of weights")
