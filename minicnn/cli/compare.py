"""minicnn compare A B C"""

HELP = "networks side by side: parameters, MACs, memory, receptive field, depth, measured times"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names that `minicnn models` lists")
    parser.add_argument("--plot", metavar="FILE", help="write the accuracy-operations-size plot (needs minicnn[plot])")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="images at once when timing (8)")
    parser.add_argument("--no-timing", action="store_true", help="leave the measured times out")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    """Measure each network and print the table."""
    from minicnn import models
    from minicnn.cli.output import print_json, print_table, progress, say
    from minicnn.study.compare import bubble_plot, compare
    for name in args.models:
        models.info(name)               # a wrong name is told before minutes of timing
    rows = []
    with progress("comparing", len(args.models)) as advance:
        for name in args.models:
            advance(0, name)
            rows.append(compare(name, args.batch, not args.no_timing))
            advance(1, name)
    if args.json:
        print_json([row.as_dict() for row in rows])
    else:
        print_table(("", *[f">{row.name}" for row in rows]), list(table(rows)))
        say(f"Next: minicnn study {args.models[0]}, or minicnn compare --plot FILE for a picture")
    if args.plot:
        bubble_plot(rows, args.plot)
        say(f"plot written to {args.plot}", stderr=args.json)
    return 0


def table(rows):
    """The lines of the table: what, then a cell for each network."""
    from minicnn.study.figures import count, memory, shape
    lines = {
        "input": lambda row: shape(row.input_shape),
        "layers with weights": lambda row: row.depth,
        "parameters": lambda row: f"{row.parameters:,}",
        "MACs of an image": lambda row: count(row.macs),
        "activations of an image": lambda row: memory(row.activation_bytes),
        "a unit of the last map sees": lambda row: shape(row.receptive_field) if row.receptive_field else "-",
        "published top-1 error": lambda row: f"{row.error} % ({row.dataset})" if row.error is not None else "-",
        "forward, ms an image": lambda row: "-" if row.forward is None else f"{row.forward:.3g}",
        "training, ms an image": lambda row: "-" if row.training is None else f"{row.training:.3g}",
    }
    for what, cell in lines.items():
        yield (what, *[cell(row) for row in rows])
