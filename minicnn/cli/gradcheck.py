"""minicnn gradcheck: an op's or a model's gradients against finite differences."""

import contextlib
import json

import numpy as np

import kernels
from minicnn import gradcheck, models
from minicnn.errors import ArgumentError
from minicnn.gradcheck import cases

HELP = "check the gradients of an op or a model against finite differences"


def add_arguments(parser):
    parser.add_argument("target", metavar="OP|MODEL", help="an op such as conv2d, or a model such as resnet20")
    parser.add_argument("--rung", help="which implementation of the op to check (default: the one that would run)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args):
    report = _check_op(args) if args.target in cases.CASES else _check_model(args)
    print(json.dumps(report.to_dict()) if args.json else report)
    return 0 if report else 1


def _check_op(args):
    room, function, _ = cases.CASES[args.target]
    if args.rung and room is None:
        raise ArgumentError(f"gradcheck: {args.target} has no rungs; leave --rung out")
    with kernels.using(**{room: args.rung}) if args.rung else contextlib.nullcontext():
        return gradcheck.check(function, list(cases.inputs(args.target).values()))


def _check_model(args):
    if args.target not in models.names():
        raise ArgumentError(f"gradcheck: {args.target!r} is neither an op nor a model; ops are {', '.join(cases.CASES)}; "
                            "minicnn models lists the models")
    shape = (2, *models.info(args.target).input_shape)
    return gradcheck.check_model(models.create(args.target), np.random.default_rng(0).standard_normal(shape))
