"""What the commands print with: tables, progress bars, JSON. Plain text, without colour or frames, when not on a terminal."""

import contextlib
import json
import sys
import time

MOST_COLUMNS = 100      # tables stay readable in half a screen and in a pasted log
_PLAIN_SECONDS = 30     # how often a long step says how far it is where there is no terminal


def console(stderr=False):
    """A rich Console on stdout (or stderr) of at most 100 columns."""
    from rich.console import Console
    it = Console(stderr=stderr, highlight=False, soft_wrap=False)
    it.width = min(it.width, MOST_COLUMNS) if it.is_terminal else MOST_COLUMNS
    return it


def say(text="", stderr=False):
    """Print a line as it is: never wrapped, so that a command in it can be copied."""
    print(text, file=sys.stderr if stderr else sys.stdout, flush=True)


def print_table(columns, rows, title=None, stderr=False):
    """Print a table. columns: headings, ">" before one aligns right (">time"); rows: sequences of values, str() is shown."""
    from rich import box
    from rich.table import Table
    out = console(stderr)
    lines = box.SIMPLE_HEAD if out.is_terminal else None
    table = Table(title=_text(title) if title else None, title_justify="left", box=lines, show_edge=False, pad_edge=False)
    for heading in columns:
        right = heading.startswith(">")
        table.add_column(_text(heading.removeprefix(">")), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[_text(value) for value in row])
    out.print(table)


def print_pairs(pairs, title=None, stderr=False):
    """Print names and values, one pair a line."""
    if title:
        say(title, stderr)
    width = max((len(str(name)) for name, _ in pairs), default=0)
    for name, value in pairs:
        say(f"  {name!s:<{width}}  {value}", stderr)


def print_json(value):
    """Print one JSON document on stdout; NumPy's numbers and arrays become JSON's, NaN and infinity null."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False), flush=True)


@contextlib.contextmanager
def progress(what, total, stderr=True, unit=None):
    """A progress bar for `total` steps of work; yields advance(steps=1, note=""). Without a terminal a line now and then.

    total None: nobody knows how many; the steps done are counted. unit "bytes": sizes and speed are shown as such.
    """
    out = console(stderr)
    if not out.is_terminal:
        yield _plain_advance(what, total, out)
        return
    from rich import progress as parts
    count = [parts.DownloadColumn(), parts.TransferSpeedColumn()] if unit == "bytes" else [parts.MofNCompleteColumn()]
    bar = parts.Progress(parts.TextColumn("{task.description}"), parts.BarColumn(), *count,
                         parts.TextColumn("{task.fields[note]}"), parts.TimeRemainingColumn(), console=out, transient=True)
    with bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda steps=1, note="": bar.update(task, advance=steps, note=note)


def _plain_advance(what, total, out):
    state = {"done": 0, "said": time.monotonic()}

    def advance(steps=1, note=""):
        state["done"] += steps
        if time.monotonic() - state["said"] > _PLAIN_SECONDS:
            state["said"] = time.monotonic()
            of = "" if total is None else f" of {total:,}"
            print(f"{what}: {state['done']:,}{of} {note}".rstrip(), file=out.file, flush=True)
    return advance


def _text(value):
    from rich.text import Text
    return value if isinstance(value, Text) else Text(str(value))       # never read as markup: names contain [0]


def _plain(value):
    """value with only what JSON has."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
