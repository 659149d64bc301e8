"""minicnn warmup [MODEL …]"""

HELP = "compile the kernels ahead of time and keep them on disk"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="networks: only what they need is compiled, in float32 "
                        "(default: every rung of every kernel in float32 and float64, which takes minutes)")


def run(args):
    """Compile with a progress bar."""
    from minicnn import models
    from minicnn.cli.output import say
    from minicnn.study.compilation import watching
    for name in args.models:
        models.info(name)               # a wrong name is told before minutes of compilation
    compilations = _compile_for(args.models, watching) if args.models else _compile_all(watching)
    say(f"{compilations.compiled} functions compiled in {compilations.seconds:.1f} s, loading the others included; "
        "they are kept in Numba's cache, see `minicnn doctor`")
    say(f"Next: minicnn study {args.models[0] if args.models else 'resnet20'}")
    return 0


def _compile_for(names, watching):
    """What training and evaluation of these networks call; how many functions that is shows when they have been called."""
    from minicnn.cli.output import progress
    from minicnn.cli.summary import create
    from minicnn.study.warmup import warm_model
    with progress("compiling", None) as advance, watching(lambda function: advance(1, f"{name}: {function}")) as compilations:
        for name in names:
            advance(0, name)
            warm_model(*create(name))
    return compilations


def _compile_all(watching):
    from minicnn.cli.output import progress, say
    from minicnn.study import warmup
    steps = warmup.kernel_steps()
    say(f"compiling all kernels, in {len(steps)} steps; `minicnn warmup resnet20` compiles only what that network needs",
        stderr=True)
    with progress("compiling", len(steps)) as advance, watching() as compilations:
        for what, step in steps:
            advance(0, what)
            step()
            advance(1, what)
    return compilations
