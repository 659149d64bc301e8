"""minicnn summary MODEL"""

import argparse

HELP = "per layer: output, parameters, MACs and FLOPs, memory, receptive field"


def sides(text):
    """An argparse type: "3,32,32" or "3x32x32" -> (3, 32, 32)."""
    try:
        found = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not made of positive numbers with commas between, such as 3,32,32")
    return found


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("model", help="a name that `minicnn models` lists")
    parser.add_argument("--input", type=sides, metavar="C,H,W", help="the input's shape (default: the paper's)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images at once; MACs and memory are for all (1)")
    parser.add_argument("--num-classes", type=int, metavar="K", help="classes (default: the paper's)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def create(name, num_classes=None):
    """(model, input_shape) of a registered model."""
    from minicnn import models
    model = models.create(name) if num_classes is None else models.create(name, num_classes=num_classes)
    return model, tuple(models.info(name).input_shape)


def run(args):
    """Print the summary."""
    from minicnn.cli.output import print_json, say
    from minicnn.study import summary
    model, input_shape = create(args.model, args.num_classes)
    found = summary(model, args.input or input_shape, args.batch, name=args.model)
    if args.json:
        print_json(found.as_dict())
    else:
        say(found)
    return 0
