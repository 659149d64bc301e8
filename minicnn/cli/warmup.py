"""minicnn warmup [MODEL …]"""

from functools import partial

HELP = "compile the kernels ahead of time and keep them on disk"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="networks whose kernels to compile (default: all kernels)")


def run(args):
    """Compile with a progress bar."""
    from minicnn import models
    from minicnn.cli.output import progress, say
    from minicnn.study import warmup
    from minicnn.study.compilation import watching
    for name in args.models:
        models.info(name)               # a wrong name is told before minutes of compilation
    steps = [(name, partial(_warm, name)) for name in args.models] or warmup.kernel_steps()
    with watching() as compilations, progress("compiling", len(steps)) as advance:
        for what, step in steps:
            advance(0, what)
            step()
            advance(1, what)
    say(f"{compilations.compiled} functions compiled in {compilations.seconds:.1f} s, loading the others included; "
        "they are kept in Numba's cache, see `minicnn doctor`")
    say(f"Next: minicnn study {args.models[0] if args.models else 'resnet20'}")
    return 0


def _warm(name):
    from minicnn.cli.summary import create
    from minicnn.study.warmup import warm_model
    warm_model(*create(name))
