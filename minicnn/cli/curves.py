"""minicnn curves FOLDER …"""

HELP = "draw the learning curves of runs as a PNG"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("runs", nargs="+", metavar="FOLDER", help="folders of `minicnn train`, also while it trains")
    parser.add_argument("--out", metavar="FILE", help="the picture (curves.png in the first folder)")
    parser.add_argument("--json", action="store_true", help="print the curves' numbers as JSON, and draw only with --out")


def run(args):
    """Draw the picture and say where it is."""
    from pathlib import Path

    from minicnn.cli.output import print_json, say
    from minicnn.training.curves import draw_curves, read_history
    runs = {str(Path(folder)): read_history(folder) for folder in args.runs}
    path = args.out or Path(args.runs[0]) / "curves.png"
    if args.out or not args.json:
        draw_curves(runs, path)
    if args.json:
        print_json(runs)
        return 0
    best = {name: max(row.get("test_accuracy") or 0 for row in history) for name, history in runs.items()}
    for name, accuracy in best.items():
        say(f"{name}: {len(runs[name])} epochs, at best {accuracy:.2%} of the test images right")
    say(f"The picture: {path}. Next: minicnn eval, or minicnn curves with other runs beside it.")
    return 0
