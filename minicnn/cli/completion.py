"""minicnn completion SHELL"""

import sys

HELP = "print a script that completes commands, options and names of networks in your shell"
_WHERE = {"bash": "~/.local/share/bash-completion/completions/minicnn", "zsh": "a folder of $fpath, as _minicnn",
          "tcsh": "~/.tcsh/minicnn.tcsh, and source it in ~/.tcshrc"}


def add_arguments(parser):
    """What the command takes."""
    parser.add_argument("shell", choices=tuple(_WHERE), help="bash, zsh or tcsh")


def run(args):
    """Print the script; where it belongs goes to stderr."""
    from minicnn.cli import build_parser
    from minicnn.cli.output import say
    from minicnn.errors import BackendError
    try:
        import shtab
    except ImportError as error:
        raise BackendError("the script is made by shtab, which is not installed; pip install 'minicnn[completion]'") from error
    parser = build_parser()
    for action in _all_actions(parser):
        _complete(action, shtab)
    say(shtab.complete(parser, args.shell))
    if sys.stdout.isatty():
        say(f"Next: save it, with `minicnn completion {args.shell} > FILE`, FILE being {_WHERE[args.shell]}.", stderr=True)
    else:
        say(f"Next: open a new shell and press Tab after `minicnn`; the script belongs in {_WHERE[args.shell]}.", stderr=True)
    return 0


def _all_actions(parser):
    for action in parser._actions:
        yield action
        for command in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from _all_actions(command)


def _complete(action, shtab):
    """What may stand for an argument: a network's name, a file or a folder."""
    from minicnn import models
    if action.dest in ("model", "models"):
        action.choices = models.names()
    elif action.metavar == "FILE":
        action.complete = shtab.FILE
    elif action.metavar in ("FOLDER", "DATA") or action.dest == "data":
        action.complete = shtab.DIRECTORY if action.metavar == "FOLDER" else shtab.FILE
