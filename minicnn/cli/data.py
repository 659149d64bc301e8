"""minicnn data get NAME"""

HELP = "get a real data set: cifar10, cifar100, mnist or fashion-mnist"
NAMES = ("cifar10", "cifar100", "mnist", "fashion-mnist")      # minicnn.data.download.SOURCES, not imported at every start


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("action", choices=("get",), help="download, check and unpack")
    parser.add_argument("name", choices=NAMES, help=", ".join(NAMES), metavar="NAME")
    parser.add_argument("--out", metavar="FOLDER", help="where the files go (data/NAME)")
    parser.add_argument("--mirror", metavar="URL", help="a folder on the web with the same files, in place of the official one")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    """Get it, and say what it can be used for."""
    from functools import partial
    from pathlib import Path
    from shlex import quote

    from minicnn.cli.output import print_json, progress, say
    from minicnn.data import download
    folder = Path(args.out or f"data/{args.name}")
    source = download.SOURCES[args.name]
    there = download.is_complete(args.name, folder)
    if not there and not args.json:
        size = sum(file.size for file in source.files) / 1e6
        say(f"{args.name}, {size:.0f} MB, from {args.mirror or source.addresses[0]} ({source.citation})")
    download.get(args.name, folder, args.mirror, partial(progress, unit="bytes"))
    train, test = source.images
    if args.json:
        print_json({"data": args.name, "folder": str(folder), "train": train, "test": test, "downloaded": not there,
                    "files": [{"name": file.name, "bytes": file.size, "sha256": file.sha256} for file in source.files]})
        return 0
    done = "is there already" if there else "checked"
    say(f"{folder}: {train:,} images to train and {test:,} to test, {done}. Next:")
    say(f"  minicnn train resnet20 --data {quote(str(folder))}")
    return 0
