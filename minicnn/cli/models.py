"""minicnn models"""

HELP = "the networks there are, with the figures of their papers"


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("name", nargs="?", default="", help="only names that contain this")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    """Print one line a network, under its paper."""
    from minicnn import models
    from minicnn.cli.output import print_json, print_table, say
    from minicnn.errors import ModelError
    found = [models.info(name) for name in models.names() if args.name in name]
    if not found:
        raise ModelError(f"no network's name contains {args.name!r}; `minicnn models` lists all")
    if args.json:
        print_json([as_dict(info) for info in found])
        return 0
    for i, (paper, infos) in enumerate(by_paper(found)):
        if i:
            say()
        print_table(("name", ">depth", ">parameters", ">MACs", "input", "published error, top-1/top-5"), map(row, infos), paper)
    return 0


def by_paper(infos):
    """[(paper, its networks)], the oldest first."""
    papers = {}
    for info in sorted(infos, key=lambda info: info.year):
        papers.setdefault(info.paper, []).append(info)
    return papers.items()


def row(info):
    """The cells of a network's line; its published error is the headline figure, with the table that it stands in."""
    from minicnn.study.figures import count, shape
    return (info.name, info.depth, f"{info.params:,}", count(info.macs), shape(info.input_shape),
            info.published[0] if info.published else "")


def as_dict(info):
    """Everything but the training recipes."""
    from dataclasses import asdict
    return {"name": info.name, "paper": info.paper, "year": info.year, "depth": info.depth, "parameters": info.params,
            "macs": info.macs, "input_shape": info.input_shape, "published": [asdict(p) for p in info.published]}
