"""minicnn gradcheck: an op's or a model's gradients against finite differences."""

import contextlib
import json

import numpy as np

import kernels
from minicnn import gradcheck, models
from minicnn.cli import bench
from minicnn.cli.output import progress, say
from minicnn.errors import ArgumentError
from minicnn.gradcheck import cases
from minicnn.study.compilation import watching

HELP = "check the gradients of an op or a model against finite differences"
SIDE = 48       # pixels: larger images would only repeat the same arithmetic


def add_arguments(parser):
    parser.add_argument("target", metavar="OP|MODEL", help="an op such as conv2d, or a model such as resnet20")
    parser.add_argument("--rung", help="which implementation of the op to check (default: the one that would run)")
    parser.add_argument("--hypothesis", type=int, default=0, metavar="N",
                        help="for an op: also N random cases, of other shapes, parameters and ties")
    parser.add_argument("--seed", type=int, default=0, help="of inputs and weights (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args):
    if args.hypothesis < 0 or args.seed < 0:
        raise ArgumentError(f"gradcheck: --hypothesis {args.hypothesis} and --seed {args.seed} must not be negative; pass 0 or "
                            "more")
    report = _check_op(args) if args.target in cases.CASES else _check_model(args)
    print(json.dumps(report.to_dict()) if args.json else report)
    if report and not args.json:
        say(f"Next: minicnn {'bench' if args.target in bench.OPERATIONS else 'study'} "
            f"{args.target if args.target in (*bench.OPERATIONS, *models.names()) else 'resnet20'}")
    return 0 if report else 1


def _check_op(args):
    case = cases.CASES[args.target]
    if args.rung and case.room is None:
        raise ArgumentError(f"gradcheck: {args.target} has no rungs; leave --rung out")
    with kernels.using(**{case.room: args.rung}) if args.rung else contextlib.nullcontext():
        with progress("compiling", None) as advance, watching(lambda function: advance(1, function)):
            report = gradcheck.check(case.function, cases.inputs(args.target, args.seed))
        with progress("random cases", args.hypothesis) as advance:
            for seed in range(args.seed + 1, args.seed + 1 + args.hypothesis):
                function, inputs = cases.example(args.target, seed)
                found = gradcheck.check(function, inputs, seconds=0.5)
                report.seconds += found.seconds
                advance()
                if not found:
                    shapes = ", ".join(f"{name} {a.shape}" for name, a in inputs.items())
                    found.notes.append(f"random case {seed}: {shapes}; again with --seed {seed - 1} --hypothesis 1")
                    return found
    if args.hypothesis:
        report.notes.append(f"{args.hypothesis:,} random cases more, all right")
    return report


def _check_model(args):
    if args.target not in models.names():
        raise ArgumentError(f"gradcheck: {args.target!r} is neither an op nor a model; ops are {', '.join(cases.CASES)}; "
                            "`minicnn models` lists the models")
    if args.rung or args.hypothesis:
        raise ArgumentError("gradcheck: --rung and --hypothesis are for ops; leave them out for a model")
    channels, height, width = models.info(args.target).input_shape
    shape = (2, channels, min(height, SIDE), min(width, SIDE))
    return _at_size(args, shape)


def _at_size(args, shape):
    model = models.create(args.target)
    draw = np.random.default_rng(args.seed).standard_normal
    try:
        return _with_progress(model, draw(shape))
    except ValueError:          # AlexNet and its like have linear layers for one input size alone
        full = (2, *models.info(args.target).input_shape)
        if full == shape:
            raise
        return _with_progress(model, draw(full))


def _with_progress(model, x):
    with progress("checking, %", 100) as advance:
        def step(done, of, path):
            advance(100 * done // of - 100 * (done - 1) // of, path)
        return gradcheck.check_model(model, x, progress=step)
