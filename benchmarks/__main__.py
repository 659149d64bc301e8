"""python -m benchmarks peers | kernels | startup: what minicnn is timed against, see each one's --help."""

import argparse
import importlib.util
import sys

from benchmarks.results import RESULTS, write

EPILOG = ("Figures are written to benchmarks/results/ after a complete run with the defaults, and to --out FILE after any. "
          "Needs the extra `peers`: pip install -e .[peers]")
LEAST_REPEATS = 5


def main(argv=None):
    """Exit status 0, 1 where a contender failed or disagreed, 2 for bad usage."""
    args = parse(argv)
    absent = [name for name in needed(args) if importlib.util.find_spec(name) is None]
    if absent:
        print(f"{', '.join(absent)} not installed, which minicnn is compared with: pip install -e .[peers]", file=sys.stderr)
        return 2
    return args.run(args) if getattr(args, "device", "cpu") == "cpu" else on_gpu(args)


def needed(args):
    """The packages that a command line compares with."""
    if args.run is startup_command or args.device == "cuda":       # the GPU's kernels are timed without PyTorch too
        return []
    inference = args.run is peers_command and args.mode != "train" and not (args.memory or args.trajectory)
    with_onnx = inference and "onnxruntime" in (args.contenders or ["onnxruntime"])
    return ["torch", "onnx", "onnxruntime"] if with_onnx else ["torch"]


def parse(argv):
    """The command line as a namespace."""
    from benchmarks import trajectory
    from benchmarks.peers import CONTENDERS, WANTED
    from benchmarks.shapes import OPS, PASSES
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    peers = commands.add_parser("peers", help="whole training steps and inference against PyTorch and ONNX Runtime",
                                epilog=EPILOG)
    peers.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(WANTED)}; all without")
    peers.add_argument("--mode", choices=["train", "inference", "both"], default="both")
    peers.add_argument("--batch", type=positive, metavar="N", help="images (16; 128 for resnet20 and resnet110)")
    peers.add_argument("--repeats", type=positive, default=LEAST_REPEATS, help="timed turns of each contender, at least 5 (5)")
    peers.add_argument("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", help=f"of {', '.join(CONTENDERS)}; all")
    peers.add_argument("--threads", type=positive, default=2, help="of each contender (2)")
    peers.add_argument("--memory", action="store_true", help="peak memory of training steps, instead of times")
    peers.add_argument("--trajectory", action="store_true",
                       help=f"how far {trajectory.STEPS} losses drift from PyTorch's, instead of times "
                            f"({', '.join(trajectory.MODELS)})")
    peers.add_argument("--out", metavar="FILE", help="write JSON there")
    peers.set_defaults(run=peers_command, known=WANTED)
    layers = commands.add_parser("kernels", help="every distinct layer of the networks against PyTorch", epilog=EPILOG)
    layers.add_argument("ops", nargs="*", metavar="OP", help=f"of {', '.join(OPS)}; all without")
    layers.add_argument("--model", action="append", choices=WANTED, metavar="NAME", help="only its layers; may be repeated")
    layers.add_argument("--pass", action="append", dest="passes", metavar="PASS", choices=sorted(PASSES),
                        help=f"of {', '.join(sorted(PASSES))}; may be repeated")
    layers.add_argument("--batch", type=positive, metavar="N", help="images (16; 128 for resnet20 and resnet110)")
    layers.add_argument("--repeats", type=positive, default=LEAST_REPEATS, help="timed turns of each, at least 5 (5)")
    layers.add_argument("--threads", type=positive, default=2, help="of each engine (2)")
    layers.add_argument("--out", metavar="FILE", help="write JSON there")
    layers.set_defaults(run=kernels_command)
    for command in (peers, layers):
        command.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: the GPU's kernels (cpu)")
    startup = commands.add_parser("startup", help="import, first step, compilation, memory that stays behind", epilog=EPILOG)
    startup.add_argument("--repeats", type=positive, default=LEAST_REPEATS, help="processes for each median, at least 5 (5)")
    startup.add_argument("--threads", type=positive, default=2)
    startup.add_argument("--out", metavar="FILE", help="write JSON there")
    startup.set_defaults(run=startup_command)
    args = parser.parse_args(argv)
    for op in set(getattr(args, "ops", ())) - set(OPS):
        parser.error(f"no operation {op!r}; choose from {', '.join(OPS)}")
    unknown = set(getattr(args, "models", ())) - set(getattr(args, "known", ()))
    if unknown:
        parser.error(f"no twin of {', '.join(sorted(unknown))}; choose from {', '.join(args.known)}")
    if getattr(args, "repeats", LEAST_REPEATS) < LEAST_REPEATS:
        parser.error(f"--repeats {args.repeats} is too few for a median that means something; choose at least {LEAST_REPEATS}")
    return args


def positive(text):
    """An integer of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def place(args, name, complete):
    """Where the JSON goes: --out, or the results folder after a complete run; None for neither."""
    return args.out or (RESULTS / f"{name}.json" if complete else None)


def end(path, rows):
    """Say what failed and where the figures are; the exit status."""
    from minicnn.cli.output import say
    failed = [row["error"] for row in rows if "error" in row]
    for error in failed:
        say(error, stderr=True)
    if path:
        say(f"written to {path}")
    return 1 if failed else 0


def kernels_command(args):
    """Time every layer, print a table for each op and what follows from them, write the JSON."""
    from benchmarks import layers, peers
    from benchmarks.shapes import OPS
    from minicnn.cli.output import print_table, progress, say
    path = place(args, "kernels", not (args.ops or args.model or args.passes or args.batch))
    found = layers.find_layers(args.ops or OPS, args.model or list(peers.WANTED), args.batch, peers.batch_of)

    def keep(limits, rows):
        if path:
            write(path, command(), args.threads, {"limits": limits, "rows": rows})
    limits, rows = layers.run(found, args.passes, args.repeats, args.threads, progress, keep)
    for op in dict.fromkeys(row["op"] for row in rows):
        say("milliseconds, times as fast as PyTorch's best layout, % of the limit")
        print_table(*layers.table(rows, op))
        say()
    for line in layers.conclusions(rows, limits):
        say(line)
    return end(path, rows)


def on_gpu(args):
    """The same commands for --device cuda; results are kept under the GPU's name."""
    from kernels import device
    from minicnn.cli.output import say
    if device.why_not():
        say(f"there is no GPU to time: {device.why_not()}", stderr=True)
        return 2
    return (gpu_steps if hasattr(args, "models") else gpu_kernels)(args)


def gpu_kernels(args):
    """Every layer on the GPU: tables and conclusions as for the CPU."""
    from benchmarks import cuda, layers, peers
    from benchmarks.shapes import OPS
    from minicnn.cli.output import print_table, progress, say
    found = layers.find_layers(args.ops or OPS, args.model or list(peers.WANTED), args.batch, peers.batch_of)
    path = place_gpu(args, "kernels", not (args.ops or args.model or args.passes or args.batch))
    limits, rows = cuda.run(found, args.passes, args.repeats, progress,
                            lambda limits, rows: keep_gpu(path, {"limits": limits, "rows": rows}))
    for op in dict.fromkeys(row["op"] for row in rows):
        print_table(*layers.table(rows, op))
        say()
    for line in cuda.conclusions(rows, limits):
        say(line)
    return end(path, rows)


def gpu_steps(args):
    """Whole training steps on the GPU."""
    from benchmarks import cuda, peers
    from minicnn.cli.output import print_table, progress
    path = place_gpu(args, "peers", not (args.models or args.batch))
    rows = cuda.run_models(args.models or list(peers.WANTED), args.batch, peers.batch_of, args.repeats, progress,
                           lambda rows: keep_gpu(path, {"rows": rows}))
    print_table(*cuda.steps_table(rows), "a training step, float32")
    return end(path, rows)


def place_gpu(args, name, complete):
    """As place, under the device's name; nowhere from the simulator, whose times mean nothing."""
    from kernels.device import shim
    return None if shim.SIMULATED else place(args, f"{name}-{shim.name().lower().replace(' ', '-')}", complete)


def keep_gpu(path, result):
    """Write what has been measured so far."""
    from kernels.device import shim
    if path:
        write(path, command(), 1, {"gpu": shim.name(), **result})


def startup_command(args):
    """Measure, print the table, write the JSON."""
    from benchmarks import startup
    from minicnn.cli.output import print_table, progress, say
    result = startup.run(args.repeats, args.threads, progress)
    print_table(*startup.table(result), f"{args.threads} threads, {args.repeats} processes each")
    path = write(place(args, "startup", True), command(), args.threads, result)
    say(f"written to {path}")
    return 0


def memory_command(args):
    """peers --memory"""
    from benchmarks import memory, peers
    from minicnn.cli.output import print_table, progress
    path = place(args, "memory", not (args.models or args.batch or args.contenders))

    def keep(rows):
        if path:
            write(path, command(), args.threads, {"rows": rows})
    rows = memory.run(args.models or list(peers.WANTED), args.batch, args.threads, args.contenders, progress, keep)
    print_table(*memory.table(rows), f"peak memory of training steps in MiB, float32, {args.threads} threads")
    return 0


def trajectory_command(args):
    """peers --trajectory; 1 where the losses drift further apart than is wanted."""
    from benchmarks import trajectory
    from minicnn.cli.output import print_table, progress
    path = place(args, "trajectory", not (args.models or args.batch))
    rows = trajectory.run(args.models or trajectory.MODELS, args.batch, args.threads, progress)
    print_table(*trajectory.table(rows), f"losses of {trajectory.STEPS} updates, minicnn and PyTorch")
    if path:
        write(path, command(), args.threads, {"rows": rows})
    return 1 if any(row["difference"] > row["wanted"] for row in rows) else 0


def command():
    """The command line, to be kept with the figures."""
    return "python -m benchmarks " + " ".join(sys.argv[1:])


def peers_command(args):
    """Time, print the tables, write the JSON."""
    if args.memory or args.trajectory:
        return memory_command(args) if args.memory else trajectory_command(args)
    from benchmarks import peers
    from minicnn.cli.output import print_table, progress, say
    modes = ["train", "inference"] if args.mode == "both" else [args.mode]
    path = place(args, "peers", not (args.models or args.batch or args.contenders) and args.mode == "both")

    def keep(rows):
        if path:
            write(path, command(), args.threads, {"rows": rows})
    rows = peers.run(args.models or list(peers.WANTED), modes, args.batch, args.repeats, args.threads, args.contenders,
                     progress, keep)
    for mode in modes:
        say(f"{mode}: images a second, float32, {args.threads} threads"
            + (" (ORT: ONNX Runtime)" if mode == "inference" else ""))
        print_table(*peers.table(rows, mode))
        say()
    show_differences(rows, say)
    if path:
        say(f"written to {path}")
    return 1 if any("error" in row for row in rows) else 0


def show_differences(rows, say):
    """How far apart the contenders were, and what went wrong."""
    for row in rows:
        if "error" in row:
            say(f"{row['model']} {row['mode']}: {row['error']}", stderr=True)
    agreed = [row for row in rows if "error" not in row]
    if agreed:
        worst = max(agreed, key=lambda row: row["difference"])
        say(f"largest difference of losses or logits before timing: {worst['difference']:.1e} of the largest "
            f"({worst['model']}, {worst['mode']})")


if __name__ == "__main__":
    sys.exit(main())
