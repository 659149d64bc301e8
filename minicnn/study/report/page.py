"""The page of a study: sections as HTML text, put into page.html with its style and script inside."""

import json
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from minicnn.io.atomic import atomic_write
from minicnn.study import figures
from minicnn.study.report import inside, svg, tree
from minicnn.study.report.elements import Markup, bar, fold, heat_map, pairs, picture, table

SCRIPTS = ("page.js", "dom.js", "image.js", "graph.js", "explain.js", "layer.js", "flow.js", "inside.js")
STYLES = ("page.css", "inside.css")


def write_report(study, folder, progress=None):
    """Write the page of a Study to folder/index.html -> Path. Makes the folder; OSError if that cannot be.

    progress(done, of) is called after each operation whose pictures are made.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = render(study, progress).encode()
    with atomic_write(folder / "index.html") as file:
        file.write(text)
    return folder / "index.html"


def render(study, progress=None):
    """The whole page as text. It loads nothing: style, script, plots and data are inside."""
    sections = [section for section in (
        *_inside(study), _network(study), _training(study), _examples(study), _fields(study), _times(study), _gradients(study),
        _kernels(study), _colophon(study)) if section]
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, *_ in sections)
    body = "".join(f'<section id="{key}"><h2>{escape(title)}</h2><p class="lead">{lead}</p>{content}</section>'
                   for key, title, lead, content in sections)
    return Template(_text("page.html")).substitute(
        title=escape(study.name), style="".join(map(_text, STYLES)), script="".join(map(_text, SCRIPTS)), header=_header(study),
        links=links, body=body, data=_json(study.as_dict()),
        inside=_json(inside.data(study, progress)) if study.look else "null")


def _text(name):
    return (resources.files("minicnn.study.report") / name).read_text(encoding="utf-8")


def _json(value):
    """JSON that may stand inside a <script>."""
    return json.dumps(_finite(value), allow_nan=False).replace("<", "\\u003c")


def _inside(study):
    """The sections that the page's script fills: the image, the inside of the network, and the flow over its depth."""
    if not study.look:
        return ()
    seen = f"all {study.look.images} test images looked at" if study.look.images > 1 else "this image"
    return (
        ("image", "What it sees", "The image as the network gets it, and what its answer rests on. <b>Saliency</b>: the size "
         "of the score's gradient at each pixel. <b>Guided backpropagation</b>: likewise, but every ReLU stops what would "
         "lower the score. <b>Grad-CAM</b>: the last maps, weighed by their mean gradients. Choose a class.",
         '<div id="image-app"></div>'),
        ("inside", "Inside", "Open a part of the graph to see its parts, choose one to look into it, and click a "
         "pixel of a map: you see what it sees, which numbers made it, and where its gradient goes.",
         '<div id="inside-app"></div>'),
        ("flow", "The gradient's way back", "How large the gradient of the score still is at each layer, from the image on the "
         f"left to the answer on the right, and which share of the channels is silent, 0 everywhere on {seen}.",
         '<div id="flow-app"></div>'))


def _finite(value):
    """value with null for numbers that are not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _milliseconds(seconds):
    return f"{1000 * seconds:.2f}" if seconds >= 5e-6 else "0" if seconds == 0 else "0.01"


def _header(study):
    info, found = study.info, study.summary
    source = info.paper if info else "A network of your own"
    published = f" Published error: {'; '.join(map(str, info.published))}." if info and info.published else ""
    tiles = [("parameters", figures.count(found.parameters), f"{found.parameters:,}"),
             ("MACs an image", figures.count(found.macs), f"at {figures.shape(found.input_shape)}"),
             ("layers with weights", str(found.depth), "on the longest way"),
             ("a unit sees", f"{found.field} px" if found.field else "all", "before the last pooling")]
    if study.checks:
        right = sum(check.passed for check in study.checks)
        tiles.append(("gradients right", f"{right} of {len(study.checks)}", "distinct layers"))
    if study.times:
        seconds = sum(layer.forward + layer.backward for layer in study.times)
        tiles.append(("training speed", f"{study.batch / seconds:.0f}", f"images a second, batch {study.batch}"))
    if study.history and "test_accuracy" in study.history[-1]:
        tiles.append(("test accuracy", f"{100 * study.history[-1]['test_accuracy']:.1f} %",
                      f"{study.data}, after epoch {len(study.history)}"))
    boxes = "".join(f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>'
                    for name, value, note in tiles)
    return (f"<p class=\"kicker\">minicnn study</p><h1>{escape(study.name)}</h1><p class=\"source\">{escape(source)}."
            f"{escape(published)}</p><dl class=\"tiles\">{boxes}</dl>")


def _network(study):
    lead = ("Open a part to see what is inside. <b>Sees</b> is the side of the receptive field: how many pixels of the image "
            "one unit depends on. Parameters, MACs and times of what is inside are added up"
            + (f"; times are milliseconds for a batch of {study.batch} in training." if study.times else "."))
    buttons = ('<p class="buttons"><button type="button" data-depth="1">stages</button><button type="button" data-depth="2">'
               'blocks</button><button type="button" data-depth="99">everything</button></p>')
    text = _milliseconds if study.times else lambda seconds: ""
    return "network", "The network", lead, buttons + tree.html(tree.build(study), text)


def _training(study):
    history = study.history
    if not history:
        return None

    def points(name, factor=1.0):
        return [(row["epoch"], factor * row[name]) for row in history if row.get(name) is not None]

    accuracies = {"train": ("one", points("train_accuracy", 100)), "test": ("two", points("test_accuracy", 100))}
    lowest = min(value for _, line in accuracies.values() for _, value in line)
    loss = svg.line_chart({"train": ("one", points("train_loss")), "test": ("two", points("test_loss"))}, "epoch", "loss")
    accuracy = svg.line_chart(accuracies, "epoch", "accuracy (%)", (20 * (lowest // 20), 100))
    legend = '<p class="legend"><span class="one">training images</span><span class="two">test images</span></p>'
    columns = [("epoch", "epoch", "{}"), ("train_loss", "train loss", "{:.3f}"), ("train_accuracy", "train accuracy", "{:.2%}"),
               ("test_loss", "test loss", "{:.3f}"), ("test_accuracy", "test accuracy", "{:.2%}"),
               ("lr", "learning rate", "{:.3g}"), ("images_per_second", "images/s", "{:.0f}"), ("seconds", "seconds", "{:.1f}")]
    columns = [column for column in columns if column[0] in history[0]]
    rows = [[form.format(row[key]) for key, _, form in columns] for row in history]
    content = (f'{legend}<div class="charts"><figure>{loss}</figure><figure>{accuracy}</figure></div>'
               + table([title for _, title, _ in columns], rows)
               + fold("How it was trained", pairs(study.settings)))
    return "training", "Training", f"Loss and accuracy after each epoch on {escape(study.data)}.", content


def _examples(study):
    if not study.examples:
        return None
    cards = "".join(
        f'<figure class="{"right" if example.label == example.guess else "wrong"}"><img alt="" src="{picture(example.image)}">'
        f'<figcaption>{escape(example.guess)} <small>{example.probability:.0%}'
        f'{"" if example.label == example.guess else ", is " + escape(example.label)}</small></figcaption></figure>'
        for example in study.examples)
    lead = "What the trained network says of test images, and how sure it is. Mistakes, if there are any, come first."
    return "examples", "Test images", lead, f'<div class="cards">{cards}</div>'


def _fields(study):
    """Receptive field over depth: the widest after each layer with weights."""
    widest = {}
    for row in study.summary.rows:
        if row.field and len(row.output_shape) >= 4 and row.macs:
            widest[row.depth] = max(widest.get(row.depth, 0), row.field.height.size)
    if len(widest) < 2:
        return None
    side = study.summary.input_shape[-2]
    chart = svg.line_chart({"receptive field": ("one", sorted(widest.items())),
                            "image": ("edge", [(min(widest), side), (max(widest), side)])}, "layers with weights",
                           "pixels")
    work = {}
    for row in study.summary.rows:
        if row.macs:
            work[row.depth] = work.get(row.depth, 0) + row.macs / 1e6
    macs = svg.line_chart({"MACs": ("two", sorted(work.items()))}, "layers with weights", "million MACs an image")
    lead = ("Left: the side of the part of the image that one unit can see, and the image's own side. Units near the border "
            "see padding as well. Right: where the arithmetic is.")
    return "depth", "Over the depth", lead, f'<div class="charts"><figure>{chart}</figure><figure>{macs}</figure></div>'


def _times(study):
    if not study.times:
        return None
    bars = [(f"{layer.path} {layer.operation}".strip(), 1000 * layer.forward, 1000 * layer.backward) for layer in study.times]
    kinds = {}
    for layer in study.times:
        kind = kinds.setdefault(layer.operation, [0, 0.0, 0.0])
        kinds[layer.operation] = [kind[0] + 1, kind[1] + layer.forward, kind[2] + layer.backward]
    total = sum(kind[1] + kind[2] for kind in kinds.values()) or 1.0
    rows = [[name, str(count), _milliseconds(f), _milliseconds(b), bar({"forward": f / total, "backward": b / total})]
            for name, (count, f, b) in sorted(kinds.items(), key=lambda item: -sum(item[1][1:]))]
    content = ('<p class="legend"><span class="forward">forward</span><span class="backward">backward</span></p>'
               f'<figure class="scroll">{svg.skyline(bars, "ms")}</figure>'
               + table(["operation", "number", "forward ms", "backward ms", "share of the time"], rows))
    lead = (f"Every operation in the order it runs, forward upwards and backward downwards; a training pass of {study.batch} "
            f"images takes {figures.duration(total)}. Medians after a warm-up.")
    return "times", "Where the time goes", lead, content


def _gradients(study):
    if not study.checks:
        return None
    rows = [[Markup('<span class="ok">right</span>' if check.passed else '<span class="bad">WRONG</span>'), check.operation,
             check.path or "(network)", check.detail, str(check.alike), figures.error(check.error)] for check in study.checks]
    wrong = "".join(f"<pre>{escape(check.path)} {escape(check.operation)}\n{escape(check.message)}</pre>"
                    + "".join(f"<figure><figcaption>errors of {escape(name)}</figcaption>{heat_map(errors)}</figure>"
                              for name, errors in check.maps)
                    for check in study.checks if not check.passed)
    lead = ("Each distinct layer was run by itself in float64 and its backward pass compared with central differences, with a "
            "random upstream gradient. The last column is the largest relative difference.")
    return "gradients", "Gradient check", lead, wrong + table(
        ["verdict", "operation", "first at", "inputs", "alike", "difference"], rows)


def _kernels(study):
    if not study.kernels:
        return None
    parts = []
    for result in study.kernels:
        best = {row.direction: 0.0 for row in result.rows}
        for row in result.rows:
            best[row.direction] = max(best[row.direction], row.rate or 0.0)
        rows = [_rung(row, best[row.direction] or 1.0) for row in result.rows]
        parts.append(f"<h3>{escape(result.title)} <small>{escape(result.detail)}</small></h3>" + table(
            ["rung", "direction", "warm", result.unit, "", "gain", "cold", "compile", "deviation"], rows))
    lead = ("The rungs of each room, from the definition up, at the heaviest shape this network gives them. Every rung was "
            "compared with the reference before it was timed; gain is over the rung below, deviation relative to the largest "
            "value.")
    return "kernels", "Kernels", lead, "".join(parts)


def _rung(row, best):
    """The cells of one RungTime; the bar is its rate as a share of the best."""
    compiled = figures.duration(row.compile) + (" (cache)" if row.cached else "") if row.compile else "-"
    return [row.rung, row.direction, figures.duration(row.warm) if row.agrees else "wrong",
            f"{row.rate:.3g}" if row.rate else "-", bar({row.direction: (row.rate or 0) / best}, False),
            f"x {row.gain:.1f}" if row.gain else "", figures.duration(row.cold), compiled, figures.error(row.deviation)]


def _colophon(study):
    took = ", ".join(f"{part} {figures.duration(seconds)}" for part, seconds in study.seconds.items())
    facts = [("made", study.date), ("on", study.machine), ("took", took),
             *([("again", study.again)] if study.again else [])]
    return "made", "How this page was made", "Figures depend on the machine; everything random was seeded.", pairs(facts)
