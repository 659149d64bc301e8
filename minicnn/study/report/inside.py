"""What the page's script shows of one image's way through the network, as plain data."""

import inspect
import sys
from collections import Counter

import numpy as np

from minicnn.study import explain
from minicnn.study.report.pictures import numbers, signed, sprite, stretched, tile, webp

SIDES = (112, 56, 28)           # of the maps drawn: the first with which all maps together stay below MOST_PIXELS
MOST_PIXELS = 24_000_000
FILTERS, MATRIX, VALUES = 64, 256, 4096     # of weights drawn: filters and their channels, sides of matrices, single values
BINS = 48


def data(study, progress=None):
    """Everything about study.look for JSON: classes with their pictures, nodes, modules, sources. progress(done, of)."""
    look = study.look
    sources = _Sources()
    figures, blocks, side = _figures(study), explain.blocks(look.nodes), _side(look.nodes)
    checks = {(place, check.operation): i for i, check in reversed(list(enumerate(study.checks))) for place in check.places}
    nodes = []
    for i, node in enumerate(look.nodes):
        nodes.append({**_node(node, side, sources), **figures[i], "check": checks.get((node.path, node.kind)),
                      "block": _block(blocks[i]) if i in blocks else None})
        if progress:
            progress(i + 1, len(look.nodes))
    return {"name": study.name, "picture": webp(look.picture), "height": look.picture.shape[0],
            "width": look.picture.shape[1], "label": look.label, "images": look.images, "camNode": look.cam_node,
            "classes": [_answer(answer) for answer in look.answers], "nodes": nodes,
            "modules": {path: {"kind": type(module).__name__, "arguments": module.extra_repr(), "source": sources.of(module)}
                        for path, module in look.modules.items()},
            "sources": sources.texts, "checks": [check.as_dict() for check in study.checks],
            "kernels": [result.as_dict() for result in study.kernels], "batch": study.batch}


def _answer(answer):
    return {"index": answer.index, "name": answer.name, "score": answer.score, "probability": answer.probability,
            "saliency": webp(stretched(answer.saliency)), "guided": webp(signed(_colours(answer.guided))),
            "cam": None if answer.cam is None else webp(stretched(answer.cam))}


def _colours(image):
    """(H, W, C) with one or three channels."""
    return image if image.shape[2] in (1, 3) else image.mean(axis=2, keepdims=True)


def _figures(study):
    """For each node the figures of its row in the summary and of its time: the k-th of a kind at a path in each."""
    rows, times = _by_place(study.summary.rows), _by_place(study.times)
    seen, found = Counter(), []
    for node in study.look.nodes:
        key = node.path, node.kind
        row, clock = rows.get((*key, seen[key])), times.get((*key, seen[key]))
        seen[key] += 1
        found.append({"parameters": row.parameters if row else 0, "macs": row.macs if row else 0,
                      "sees": study.summary.sees(row) if row else "", "forward": clock.forward if clock else None,
                      "backward": clock.backward if clock else None})
    return found


def _by_place(rows):
    seen, found = Counter(), {}
    for row in rows:
        key = row.path, row.operation
        found[(*key, seen[key])] = row
        seen[key] += 1
    return found


def _side(nodes):
    """The side that maps are drawn with."""
    for side in SIDES:
        pixels = sum(node.y.shape[1] * min(side, node.y.shape[2]) * min(side, node.y.shape[3]) for node in nodes if node.is_map)
        if pixels <= MOST_PIXELS:
            return side
    return SIDES[-1]


def _node(node, side, sources):
    room = _room(node.op)
    return {"path": node.path, "kind": node.kind, "shape": list(node.shape), "inputs": list(node.inputs),
            "field": None if node.field is None else [list(span) for span in node.field],
            "maps": sprite(node.y[0], side) if node.is_map and node.y.size else None,
            "values": numbers(node.y[0]) if node.y.ndim == 2 else None,
            "statistics": _statistics(node), "histograms": _histograms(node), "weights": list(_weights(node)),
            "silent": None if node.silent is None else np.flatnonzero(node.silent).tolist(),
            "formula": inspect.cleandoc(type(node.op).__doc__ or ""), "source": sources.of(node.op),
            "room": room and room.name, "reference": sources.reference(room)}


def _room(op):
    """The kernels' room that an op's file works with, or None."""
    kernel = getattr(sys.modules.get(type(op).__module__), "kernel", None)
    return getattr(kernel, "room", None)


def _statistics(node):
    y, gy = node.y, node.gy
    found = {"min": y.min(), "max": y.max(), "mean": y.mean(), "std": y.std(), "zeros": np.mean(y == 0)} if y.size else {}
    found["gradient"] = None if gy is None else np.linalg.norm(gy)
    # of the gradient with respect to the weights, over that of the weights themselves; the vanishing gradient's usual plot
    weighed = [(w, g) for w, g, own in zip(node.arrays, node.gradients, node.parameters) if own and g is not None]
    found["weightGradient"] = np.linalg.norm(weighed[0][1]) if weighed else None
    return {name: None if value is None else float(value) for name, value in found.items()}


def _histograms(node):
    arrays = {"activations": node.y, "gradients": node.gy}
    for array, own in zip(node.arrays, node.parameters):
        if own and array.ndim > 1:
            arrays["weights"] = array
    return {name: _histogram(array) for name, array in arrays.items() if array is not None and array.size}


def _histogram(array):
    flat = array[np.isfinite(array)]
    if not flat.size:
        return None
    counts, edges = np.histogram(flat, BINS)
    return {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()}


def _weights(node):
    """Pictures of the parameters: filters, matrices, single values."""
    for array, own in zip(node.arrays, node.parameters):
        if own and array.ndim in (1, 2, 4) and array.size:
            yield {"shape": list(array.shape), **_weight(np.squeeze(array, (2, 3)) if array.shape[2:] == (1, 1) else array)}


def _weight(w):
    if w.ndim == 1:
        return {"kind": "values", "values": numbers(w[:VALUES])}
    if w.ndim == 2:
        part = w[:MATRIX, :MATRIX]
        return {"kind": "matrix", "uri": webp(signed(part)), "height": part.shape[0], "width": part.shape[1]}
    if w.shape[1] == 3:
        largest = np.abs(w).max(axis=(1, 2, 3), keepdims=True)
        coloured = np.rint(127.5 + 127.5 * w / np.where(largest, largest, 1)).astype(np.uint8).transpose(0, 2, 3, 1)
        columns = min(len(w), 16)
        return {"kind": "colours", "uri": webp(tile(coloured, columns)), "columns": columns, "count": len(w), "across": 1,
                "height": w.shape[2], "width": w.shape[3]}
    part = w[:FILTERS, :FILTERS]
    grey = signed(part).reshape(-1, *w.shape[2:])
    return {"kind": "filters", "uri": webp(tile(grey, part.shape[1])), "columns": part.shape[1], "count": len(grey),
            "across": part.shape[1], "height": w.shape[2], "width": w.shape[3]}


def _block(block):
    return {"kind": block.kind, "rows": block.rows, "columns": block.columns, "channels": block.channels, "xRows": block.x_rows,
            "xColumns": block.x_columns, "xChannels": block.x_channels, "facts": block.facts,
            "arrays": {name: numbers(array) for name, array in block.arrays.items()}}


class _Sources:
    """Texts of classes and of reference kernels, each once."""

    def __init__(self):
        self.texts = {}

    def of(self, thing):
        """The key of the source of an object's class; None where Python cannot find it."""
        return self._keep(f"{type(thing).__module__}.{type(thing).__qualname__}", type(thing))

    def reference(self, room):
        """The key of a room's reference kernel."""
        return room and self._keep(f"kernels/{room.name}/reference.py", room.rung("reference"))

    def _keep(self, key, thing):
        if key not in self.texts:
            try:
                self.texts[key] = inspect.getsource(thing)
            except (OSError, TypeError):        # typed at a prompt, or compiled
                self.texts[key] = None
        return key if self.texts[key] else None
