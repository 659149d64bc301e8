"""Figures as people read them: 40.6 M, 2.3 MiB, 1.4 ms."""


def count(number):
    """A count with its magnitude: 950, 12.3 k, 40.6 M, 4.1 G, 1.2 T."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{number:.0f}"


def memory(size):
    """Bytes as KiB, MiB or GiB."""
    for unit, scale in (("GiB", 2 ** 30), ("MiB", 2 ** 20), ("KiB", 2 ** 10)):
        if size >= scale:
            return f"{size / scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{size} B"


def duration(seconds):
    """A time as µs, ms, s or minutes; a dash for None."""
    if seconds is None:
        return "-"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * scale:
            return f"{seconds / scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{seconds * 1e6:.0f} µs"


def shape(sides):
    """A shape as (64, 32, 32), without the batch."""
    return "x".join(str(side) for side in sides)


def error(deviation):
    """A relative error: 3e-09."""
    return f"{deviation:.0e}"
