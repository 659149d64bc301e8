"""Pieces of HTML text: tables, definition lists, bars, pictures."""

import base64
import io
import re
from html import escape

NUMBER = re.compile(r"(x )?[\d.,e+-]*( ?(%|µs|ms|s|min)( \(cache\))?)?")     # columns of these align to the right


class Markup(str):
    """Text that is HTML already."""


def table(columns, rows):
    """An HTML table that scrolls sideways where it is too wide; cells are text unless they are Markup."""
    css = [' class="number"' if all(NUMBER.fullmatch(row[i]) for row in rows) else "" for i in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(column)}</th>" for column, kind in zip(columns, css))
    body = "".join("<tr>" + "".join(f"<td{kind}>{cell if isinstance(cell, Markup) else escape(cell)}</td>"
                                    for cell, kind in zip(row, css)) + "</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def pairs(facts):
    """Names and values as a definition list."""
    return '<dl class="pairs">' + "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
                                          for name, value in facts) + "</dl>"


def fold(title, content):
    """Content that opens below its title."""
    return f'<details class="fold"><summary>{escape(title)}</summary>{content}</details>'


def bar(shares, number=True):
    """A bar of {css class: share of 1}, with the sum in percent behind it."""
    parts = "".join(f'<span class="{css}" style="width:{100 * share:.2f}%"></span>' for css, share in shares.items())
    text = f"<em>{100 * sum(shares.values()):.1f} %</em>" if number else ""
    return Markup(f'<span class="share"><span class="bar">{parts}</span>{text}</span>')


def picture(image):
    """The source of an <img> for an image (H, W, C) of uint8: a PNG inside the page."""
    from PIL import Image
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
