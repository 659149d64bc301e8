"""Plots as SVG text. Colours are classes of page.css, so that they follow the page's light or dark theme."""

import math
from html import escape

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 34


def ticks(low, high, most=5):
    """Round numbers from below `low` to above `high`, in steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        high = low + (abs(low) or 1)
    raw = (high - low) / most
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _text(value):
    return f"{value:.10g}"


class Axes:
    """The frame of a plot: maps data to picture coordinates and draws grid, numbers and names."""

    def __init__(self, x_range, y_ticks, x_name, y_name):
        self.x0, self.x1 = x_range
        self.y_ticks = y_ticks
        self.parts = []
        for value in y_ticks:
            y = self.y(value)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                              f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_text(value)}</text>')
        self.parts.append(f'<text class="name" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">'
                          f'{escape(x_name)}</text><text class="name" x="2" y="{TOP - 3}">{escape(y_name)}</text>')

    def x(self, value):
        return LEFT + (value - self.x0) / ((self.x1 - self.x0) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM - 8)

    def x_number(self, value):
        self.parts.append(f'<text class="tick" x="{self.x(value):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
                          f"{_text(value)}</text>")

    def line(self, points, css, label):
        """A line with a dot, and the value as its title, at each point."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline class="line {css}" points="{path}"/>')
        self.parts += [f'<circle class="dot {css}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3.2"><title>'
                       f"{escape(label)} {_text(x)}: {y:.4g}</title></circle>" for x, y in points]

    def svg(self, description):
        return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description, quote=True)}">'
                f'{"".join(self.parts)}</svg>')


def line_chart(series, x_name, y_name, y_range=None):
    """A chart of {label: (css class, [(x, y), ...])} -> SVG. Values that are not finite are left out."""
    kept = {label: (css, [(x, y) for x, y in points if math.isfinite(y)]) for label, (css, points) in series.items()}
    xs = [x for _, points in kept.values() for x, _ in points] or [0, 1]
    ys = [y for _, points in kept.values() for _, y in points] or [0, 1]
    axes = Axes((min(xs), max(xs)), ticks(*(y_range or (min(0, min(ys)), max(ys)))), x_name, y_name)
    for value in sorted({round(x) for x in ticks(min(xs), max(xs), 6)}):
        if min(xs) <= value <= max(xs):
            axes.x_number(value)
    for label, (css, points) in kept.items():
        axes.line(points, css, label)
    return axes.svg(f"{y_name} over {x_name}: {', '.join(series)}")


def skyline(bars, unit):
    """Columns in a row, one part up and one down: bars are (label, up, down) -> SVG of the page's full width."""
    width, height, middle, room = 1000, 230, 118, 96
    biggest = max([max(up, down) for _, up, down in bars], default=0) or 1
    step = (width - 60) / max(1, len(bars))
    parts = [f'<line class="axis" x1="52" x2="{width - 8}" y1="{middle}" y2="{middle}"/>',
             f'<text class="tick" x="46" y="{middle - room + 8}" text-anchor="end">{biggest:.3g}</text>',
             f'<text class="tick" x="46" y="{middle + room}" text-anchor="end">{biggest:.3g}</text>',
             f'<text class="tick" x="46" y="{middle + 4}" text-anchor="end">{unit}</text>']
    for i, (label, up, down) in enumerate(bars):
        x, thick = 52 + i * step, max(1.0, step - min(2.0, step / 4))
        tall, deep = room * up / biggest, room * down / biggest
        title = f"{label}: forward {up:.3g} {unit}, backward {down:.3g} {unit}"
        parts.append(f'<g class="column"><title>{escape(title)}</title>'
                     f'<rect class="hit" x="{x:.1f}" y="{middle - room}" width="{step:.1f}" height="{2 * room}"/>'
                     f'<rect class="forward" x="{x:.1f}" y="{middle - tall:.1f}" width="{thick:.1f}" height="{tall:.1f}"/>'
                     f'<rect class="backward" x="{x:.1f}" y="{middle}" width="{thick:.1f}" height="{deep:.1f}"/></g>')
    return (f'<svg class="wide" viewBox="0 0 {width} {height}" role="img" aria-label="time of each operation, forward up, '
            f'backward down">{"".join(parts)}</svg>')
