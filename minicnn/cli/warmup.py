"""minicnn warmup [MODEL …]"""

import time

HELP = "compile the kernels ahead of time and keep them on disk"
HELPERS = 3             # further processes at most, which is a guess: two cores were measured


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
    start = time.perf_counter()
    here, elsewhere = _compile_for(args.models, watching) if args.models else (_compile_all(watching), 0)
    say(f"{here} functions compiled{f', and {elsewhere} by other processes,' if elsewhere else ''} in "
        f"{time.perf_counter() - start:.1f} s; they are kept in Numba's cache, see `minicnn doctor`")
    say(f"Next: minicnn study {args.models[0] if args.models else 'resnet20'}")
    return 0


def _compile_for(names, watching):
    """What training and evaluation of these networks call; how many functions that is shows when they have been called. Returns
    how many were compiled here and by helpers, some of them by both."""
    from kernels import threads
    from minicnn.cli.output import progress
    from minicnn.cli.summary import create
    from minicnn.study.warmup import helpers, layer_names, warm_model
    networks = {name: create(name) for name in names}
    layers = set().union(*(layer_names(model) for model, _ in networks.values()))
    with (helpers(layers, min(threads.most() - 1, HELPERS)) as helped, progress("compiling", None) as advance,
          watching(lambda function: advance(1, f"{name}: {function}")) as compilations):
        for name, (model, input_shape) in networks.items():
            advance(0, name)
            warm_model(model, input_shape)
        return compilations.compiled, sum(compiled for _, compiled in helped)


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
    return compilations.compiled
