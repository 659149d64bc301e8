"""minicnn models"""

HELP = "the networks there are, with the figures of their papers"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("name", nargs="?", default="", help="only names that contain this")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    """Print one line a network."""
    from minicnn import models
    from minicnn.cli.output import print_json, print_table
    from minicnn.errors import ModelError
    found = [models.info(name) for name in models.names() if args.name in name]
    if not found:
        raise ModelError(f"no network's name contains {args.name!r}; `minicnn models` lists all")
    if args.json:
        print_json([as_dict(info) for info in found])
    else:
        print_table(("name", ">depth", ">parameters", ">MACs", "input", "published error", "paper"), [row(i) for i in found])
    return 0


def row(info):
    """The cells of a network's line; its published error is the headline figure."""
    from minicnn.study.figures import count, shape
    published = info.published[0] if info.published else None
    short = published and f"{published.dataset} {published.top1 if published.top1 is not None else '-'} %"
    if published and published.top1 is None:
        short = f"{published.dataset} top-5 {published.top5} %"
    return (info.name, info.depth, f"{info.params:,}", count(info.macs), shape(info.input_shape), short or "",
            info.paper.split(",")[0])


def as_dict(info):
    """Everything but the training recipes."""
    from dataclasses import asdict
    return {"name": info.name, "paper": info.paper, "year": info.year, "depth": info.depth, "parameters": info.params,
            "macs": info.macs, "input_shape": info.input_shape, "published": [asdict(p) for p in info.published]}
