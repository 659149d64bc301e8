"""The command `minicnn`: one file a command, each with HELP, add_arguments(parser) and run(args) -> exit status.

Exit status: 0 done, 1 a check failed, 2 bad usage or input (one line that says what and how to mend it), 130 interrupted.
"""

import argparse
import importlib
import os
import sys

from minicnn._version import __version__
from minicnn.errors import MinicnnError

COMMANDS = {name: f"minicnn.cli.{name}" for name in
            ("study", "train", "eval", "curves", "summary", "gradcheck", "bench", "compare", "models", "data", "doctor",
             "warmup", "completion")}


def main(argv=None):
    """Run one command; returns the exit status."""
    args = build_parser().parse_args(argv)
    try:
        return importlib.import_module(COMMANDS[args.command]).run(args) or 0
    except KeyboardInterrupt:
        print(f"minicnn {args.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # or Python complains at exit
        return 1
    except (MinicnnError, OSError) as error:
        if args.debug:
            raise
        print(f"minicnn {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def build_parser():
    """The argparse parser of the whole command."""
    parser = argparse.ArgumentParser(prog="minicnn", description="Convolutional networks from scratch: study, train, check, "
                                     "time.", epilog="minicnn COMMAND --help says more about each.")
    parser.add_argument("--version", action="version", version=f"minicnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, path in COMMANDS.items():
        module = importlib.import_module(path)
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
