"""minicnn bench OP"""

from minicnn.cli.summary import sides

HELP = "time every rung of an operation on one shape, checked against the definition first"
OPERATIONS = ("conv2d", "linear", "pool2d", "batch_norm", "lrn", "concat", "activation", "dropout", "loss")


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("op", choices=[*OPERATIONS, "all"], metavar="OP", help=f"one of {', '.join(OPERATIONS)}, or all")
    parser.add_argument("--shape", type=sides, metavar="N,C,H,W", help="the input's shape (linear, loss, dropout: N,C)")
    parser.add_argument("--out", type=int, metavar="K", help="output channels or features")
    parser.add_argument("--kernel", type=int, metavar="R", help="side of the window")
    parser.add_argument("--stride", type=int)
    parser.add_argument("--padding", type=int)
    parser.add_argument("--groups", type=int)
    parser.add_argument("--size", type=int, help="channels that LRN sums over")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each rung is timed (0.5)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    """Print a table for each operation; 1 if a rung is wrong."""
    from minicnn.cli.output import print_json, progress, say
    from minicnn.study.bench import bench, steps
    options = {name: getattr(args, name) for name in ("shape", "out", "kernel", "stride", "padding", "groups", "size")}
    results = []
    operations = OPERATIONS if args.op == "all" else [args.op]
    with progress("timing", sum(map(steps, operations))) as advance:
        for op in operations:
            results += bench(op, args.dtype, args.seconds, lambda rung: advance(1, rung), **options)
    if args.json:
        print_json([result.as_dict() for result in results])
        return 0 if all(results) else 1
    show(results)
    if any(row.cached for result in results for row in result.rows):
        say("* loaded from Numba's cache, not compiled")
    say(f"Next: kernels/{operations[0]}/ has the code of each rung; minicnn gradcheck checks its gradients")
    return 0 if all(results) else 1


def show(results):
    """A table for each BenchResult."""
    from minicnn.cli.output import print_table, say
    from minicnn.study.bench import cells
    for result in results:
        columns = ("rung", "direction", ">deviation", ">compile", ">cold", ">warm", f">{result.unit}", ">gain")
        print_table(columns, [cells(row) for row in result.rows],
                    f"{result.title}: {result.detail}, {result.dtype}, {result.threads} threads")
        say()
