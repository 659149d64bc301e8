"""The page: it parses, loads nothing, and says what the study found."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from minicnn import nn, ops
from minicnn.study.report import render, svg, tree, write_report
from minicnn.study.report.elements import heat_map, table
from minicnn.study.run import Study, study_model

VOID = {"meta", "link", "img", "br", "line", "rect", "polyline"}


class Net(nn.Module):
    """Two branches, functional operations, a layer that runs in training only, and a name that needs escaping."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.add_module("<b>", nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)))
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(4, 10)

    def forward(self, x):
        x = ops.relu(self.conv(x))
        x = ops.relu(self._modules["<b>"](x) + x)
        return self.fc(self.drop(ops.global_avg_pool2d(x)))


@pytest.fixture(scope="module")
def study():
    return study_model(Net(), (3, 16, 16), "digits", name="a <net> & more", batch=4, quick=True)


class Page(HTMLParser):
    """Checks that tags nest, and collects what a browser would load or follow."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.ids, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.loads += [value for name, value in attributes.items() if name in ("src", "href", "data", "action", "poster")]
        if tag == "script":
            assert "src" not in attributes
        self.ids.append(attributes.get("id"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def parse(text):
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_page_parses_and_loads_nothing(study):
    text = render(study)
    page = parse(text)
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    assert not re.search(r"https?://|url\(|@import", text.replace('SVG = "http://www.w3.org/2000/svg"', ""))   # a name
    links = [load[1:] for load in page.loads if load.startswith("#")]
    assert links == ["image", "inside", "flow", "network", "training", "examples", "depth", "times", "gradients", "kernels",
                     "made"]
    assert set(links) <= set(page.ids)
    assert len(text) < 1_000_000


def test_the_page_says_what_was_found(study):
    text = " ".join(parse(render(study)).text)
    assert "a <net> & more" in text
    assert "<b>" in text                    # the module's name, not a tag
    assert f"{study.summary.parameters:,}" in text
    assert f"{len(study.checks)} of {len(study.checks)}" in text
    assert "cross-entropy" in text


def test_the_figures_are_in_the_page_as_json(study):
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', render(study), re.DOTALL).group(1)
    assert json.loads(found)["summary"]["totals"]["parameters"] == study.summary.parameters
    assert "<" not in found


def test_numbers_that_are_not_finite_do_not_break_the_page(study):
    history = [{**study.history[0], "epoch": i, "train_loss": loss} for i, loss in ((1, 1.0), (2, float("nan")))]
    text = render(Study(**{**vars(study), "history": history}))
    parse(text)
    assert "NaN" not in re.search(r'id="study">(.*?)</script>', text, re.DOTALL).group(1)


def test_parts_that_were_left_out_are_not_on_the_page(study):
    text = render(Study("net", study.summary, 4, "digits"))
    links = [load for load in parse(text).loads if load.startswith("#")]
    assert links == ["#network", "#depth", "#made"]


def test_wrong_results_are_told(study):
    bad = [*study.checks[:1]]
    bad[0] = type(bad[0])(**{**vars(bad[0]), "passed": False, "message": "input 0: wrong at (1,)"})
    wrong = Study(**{**vars(study), "checks": bad})
    assert not wrong.right
    assert study.right
    text = " ".join(parse(render(wrong)).text)
    assert "WRONG" in text
    assert "input 0: wrong at (1,)" in text


def test_wrong_gradients_are_drawn(study):
    errors = np.zeros((2, 3, 4, 5))
    errors[1, 2, 3, 4], errors[0, 0, 0, 0] = 1.0, np.nan
    bad = type(study.checks[0])(**{**vars(study.checks[0]), "passed": False, "maps": (("weight", errors),)})
    text = render(Study(**{**vars(study), "checks": [bad]}))
    assert "errors of weight" in text
    assert 'class="heat" src="data:image/png;base64,' in text
    assert "maps" not in bad.as_dict()


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 3, 4), (0, 3), ()])
def test_heat_maps_of_any_shape(shape):
    assert heat_map(np.full(shape, 0.5)).startswith("<img")
    assert heat_map(np.full(shape, np.nan)).startswith("<img")


def test_write_report_makes_the_folder(study, tmp_path):
    path = write_report(study, tmp_path / "new" / "page")
    assert path == tmp_path / "new" / "page" / "index.html"
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]
    assert path.read_text(encoding="utf-8") == render(study)


def test_the_tree_adds_up(study):
    root = tree.build(study)
    assert root.parameters == study.summary.parameters
    assert root.macs == study.summary.macs
    assert root.seconds == pytest.approx(sum(layer.forward + layer.backward for layer in study.times))
    assert [node.name for node in root.children.values()] == [
        "conv", "ReLU", "<b>", "Add", "ReLU", "GlobalAvgPool2d", "drop", "fc"]
    assert [node.kind for node in root.children["<b>"].children.values()] == ["BatchNorm", "ReLU", "Conv2d"]
    assert root.children["drop"].seconds > 0        # it runs in training only, and is there all the same


def test_study_as_dict_is_json(study):
    parsed = json.loads(json.dumps(study.as_dict()))
    assert set(parsed["seconds"]) == {"summary", "gradients", "timing", "training", "kernels", "look"}
    assert parsed["right"] is True


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 7, [0, 2, 4, 6, 8]), (80, 100, [80, 85, 90, 95, 100]), (3, 3, [3, 4, 5, 6])])
def test_ticks_are_round_and_cover(low, high, expected):
    found = svg.ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    if high > low:
        np.testing.assert_allclose(found, expected)


def test_charts_of_nothing_and_of_one_point():
    for points in ([], [(1, 2.0)], [(1, float("inf")), (2, 3.0)]):
        parse(svg.line_chart({"a": ("one", points)}, "epoch", "loss"))
    parse(svg.skyline([], "ms"))
    parse(svg.skyline([("x", 0.0, 0.0)], "ms"))


def test_columns_of_numbers_align_right():
    text = table(["name", "time", "shape"], [["<a>", "1.2 ms", "2x3"], ["b", "-", "4x5"]])
    assert "&lt;a&gt;" in text
    assert text.count('class="number"') == 3
