"""The network as a tree that opens level by level: figures of each layer, added up for what contains it."""

from collections import Counter
from dataclasses import dataclass, field
from html import escape

from minicnn.study import figures
from minicnn.study.report.elements import bar


@dataclass
class Node:
    """A module or an operation with the figures of all inside it."""

    name: str
    kind: str = ""
    output: str = ""
    sees: str = ""
    parameters: int = 0
    macs: int = 0
    forward: float = 0.0
    backward: float = 0.0
    children: dict = field(default_factory=dict)

    @property
    def seconds(self):
        return self.forward + self.backward


def build(study):
    """The Node of the whole network from a Study's summary and times."""
    root = Node(study.name)
    times, containers = joined_times(study), _containers(study.summary.rows)
    for i, row in enumerate(study.summary.rows):
        forward, backward = times[i]
        trail = [root, *_find(root, row.path)]
        if row.path in containers:
            trail.append(Node(row.operation))
            trail[-2].children[len(trail[-2].children)] = trail[-1]
        for node in trail:
            node.parameters += row.parameters
            node.macs += row.macs
            node.forward += forward
            node.backward += backward
            node.output = figures.shape(row.output_shape[1:]) or node.output
            node.sees = study.summary.sees(row) or node.sees
        trail[-1].kind = row.operation
    for layer in _training_only(study):
        node = _find(root, layer.path)
        for part in (root, *node):
            part.forward += layer.forward
            part.backward += layer.backward
    return root


def joined_times(study):
    """(forward, backward) seconds for each row of the summary: the k-th of a kind at a path in both is the same."""
    timed, seen = {}, Counter()
    for layer in study.times:
        key = layer.path, layer.operation
        timed[(*key, seen[key])] = (layer.forward, layer.backward)
        seen[key] += 1
    seen, found = Counter(), []
    for row in study.summary.rows:
        key = row.path, row.operation
        found.append(timed.get((*key, seen[key]), (0.0, 0.0)))
        seen[key] += 1
    return found


def _training_only(study):
    """LayerTimes of what evaluation does not run: dropout, auxiliary classifiers."""
    left = Counter((row.path, row.operation) for row in study.summary.rows)
    for layer in study.times:
        if left[layer.path, layer.operation]:
            left[layer.path, layer.operation] -= 1
        else:
            yield layer


def _find(root, path):
    """The nodes on the way to a module, the root left out, made where they are missing."""
    node, trail = root, []
    for part in path.split(".") if path else ():
        node = node.children.setdefault(part, Node(part))
        trail.append(node)
    return trail


def _containers(rows):
    """Paths of modules that hold more than one operation, so that their operations stand below them."""
    runs = Counter(row.path for row in rows)
    parts = [row.path.split(".") for row in rows if row.path]
    return {"", *(path for path, count in runs.items() if count > 1), *(".".join(p[:i]) for p in parts for i in range(len(p)))}


def html(root, unit):
    """Nested <details>; unit(seconds) is the text of a time."""
    total = root.seconds or 1.0
    return f'<div class="tree" id="tree">{HEAD}{_node(root, 0, total, unit)}</div>'


HEAD = ('<div class="row head" aria-hidden="true"><span class="layer">layer</span><span>output</span><span>parameters</span>'
        "<span>MACs</span><span>sees</span><span>forward</span><span>backward</span><span class=\"share\">share of the time"
        "</span></div>")


def _node(node, level, total, unit):
    row = _row(node, total, unit)
    if not node.children:
        return f'<div class="row leaf" style="--level:{level}">{row}</div>'
    inside = "".join(_node(child, level + 1, total, unit) for child in node.children.values())
    opened = " open" if level == 0 else ""
    return (f'<details{opened}><summary class="row" style="--level:{level}">{row}</summary>'
            f"{inside}</details>")


def _row(node, total, unit):
    kind = f" <i>{escape(node.kind)}</i>" if node.kind and node.kind != node.name else ""
    cells = [("output", node.output), ("parameters", f"{node.parameters:,}" if node.parameters else ""),
             ("MACs", figures.count(node.macs) if node.macs else ""), ("sees", node.sees),
             ("forward", unit(node.forward)), ("backward", unit(node.backward))]
    text = "".join(f'<span data-name="{name}">{escape(value)}</span>' for name, value in cells)
    return (f'<span class="layer"><b>{escape(node.name)}</b>{kind}</span>{text}'
            + bar({"forward": node.forward / total, "backward": node.backward / total}))
