"""Pieces of HTML text: tables, definition lists, bars, pictures."""

import base64
import io
import re
from html import escape

import numpy as np

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


def heat_map(errors):
    """A picture of an array of errors, dark where they are largest; NaN, what was not tested, is grey.

    An array (..., H, W) is drawn as its maps (H, W) side by side, at most 64 of them, other arrays as one row a first index.
    """
    maps = errors.reshape(-1, *errors.shape[-2:])[:64] if errors.ndim > 2 else np.atleast_2d(errors)[None]
    framed = np.pad(maps, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    values = np.concatenate(list(framed), axis=1)[:256, :1024]
    largest = np.nanmax(values, initial=0) or 1.0
    tested = np.isfinite(values)
    light = np.where(tested, 255 * (1 - np.nan_to_num(values) / largest), 200).astype(np.uint8)
    image = np.stack([np.where(tested, 255, 200).astype(np.uint8), light, light], axis=2)
    return Markup(f'<img class="heat" src="{picture(image)}" alt="errors, element by element" '
                  f'style="image-rendering: pixelated; width: {min(100, values.shape[1] * 2)}%; max-height: 20em">')
