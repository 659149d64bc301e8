"""The page of `minicnn study` as its reader meets it: opened from its file in a real browser, clicked and typed at."""

import browser as chromium
import numpy as np
import pytest

from minicnn import models, nn, ops, study
from minicnn.study.images import class_names
from minicnn.study.page import subject_of
from minicnn.study.report import write_report
from minicnn.study.run import Study

NETWORKS = {"alexnet": 227, "squeezenet1_0": 227, "resnet20": 32, "densenet_40_12": 32, "own": 20, "fused": 20}
RESULT = "const {found, value} = document.getElementById('result').dataset; return [Number(found), Number(value)]"
LARGEST = 15_000_000        # bytes of SqueezeNet's page


class Own(nn.Module):
    """Three layers of one's own; Exp and Mean are operations whose values the page does not explain."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.last(ops.mean(ops.exp(-self.norm(self.first(x))), axis=(2, 3)))


class Fused(Own):
    """Convolution and batch norm computed with their ReLU and a shortcut in one pass."""

    def forward(self, x):
        x = ops.conv2d_relu(x, self.first.weight, self.first.bias, 2, 1)
        x = ops.batch_norm_relu(x, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias, add=x)
        return self.last(ops.global_avg_pool2d(x))


def photograph(side):
    """A picture (side, side, 3) of waves and a square: every map has something to show."""
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([127 + 120 * np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((3, 1), (1, 5), (7, 7))], axis=2)
    image[side // 3:side // 2, side // 3:side // 2] = (255, 200, 0)
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def browser():
    started = chromium.start()
    yield started
    chromium.stop(started)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) if side > 200 else name
                                        for name, side in NETWORKS.items()])
def made(request, browser, tmp_path_factory):
    """(path of the page, its Look, name). What takes long is left out: gradient checks and the kernels' times."""
    name, side = request.param, NETWORKS[request.param]
    own = {"own": Own, "fused": Fused}.get(name)
    info = None if own else models.info(name)
    model = own() if own else models.create(name)
    subject = subject_of(photograph(side), (3, side, side))
    names = class_names(1000 if side == 227 else 10, info) if info else ["a", "b", "<c>", "d"]
    shape = subject.x.shape
    found = Study(name, study.summary(model, shape, name=name), 2, "", times=study.time_layers(model, shape, 2, 1))
    found.look = study.look(model, subject.x, subject.picture, names)
    return write_report(found, tmp_path_factory.mktemp("page")), found.look, name


@pytest.fixture
def page(made, browser):
    """The page, opened anew; at the end the console must be empty and nothing may have been asked for."""
    opened = chromium.Page(browser, made[0])
    opened.wait("document.querySelectorAll('[data-evidence]').length > 1")
    yield opened
    assert opened.complaints() == []
    assert opened.requests() == []


def pixels(page, selector):
    """What a canvas shows, as text to compare."""
    return page.do("return document.querySelector(arguments[0]).toDataURL()", selector)


def changes(page, selector, act):
    """True once `act` has changed what a canvas shows."""
    before = pixels(page, selector)
    act()
    return page.wait("document.querySelector(arguments[0])?.toDataURL() !== arguments[1]", selector, before)


def test_a_class_is_chosen(page, made):
    assert page.do("return document.querySelectorAll('.answer').length") == len(made[1].answers)
    for evidence in ("saliency", "guided"):
        assert changes(page, f'[data-evidence="{evidence}"]', lambda: page.click('.answer[aria-checked="false"]'))
    assert changes(page, '[data-evidence="saliency"]', lambda: page.click("#over"))
    page.keys(".answer[aria-checked=true]", "ARROW_DOWN")
    assert page.do("return document.activeElement.getAttribute('aria-checked')") == "true"


def test_the_graph_opens_level_by_level(page, made):
    counts = []
    for level in (1, 2, 99):
        page.click(f'[data-level="{level}"]')
        counts.append(page.do("return document.querySelectorAll('.graph .node').length"))
    assert counts == sorted(counts)
    assert page.do("return document.querySelectorAll('.graph .node .name').length") == counts[-1]
    boxes = page.do("return [...document.querySelectorAll('.graph .node[data-part^=\"#\"]')].map(b => b.dataset.part)")
    assert len(boxes) == len(set(boxes)) == len(made[1].nodes)
    page.click('[data-level="1"]')
    closed = page.do("return document.querySelectorAll('.graph [aria-expanded=false]').length")
    if closed:
        page.keys(".graph [aria-expanded=false]", "ENTER")
        assert page.do("return document.querySelectorAll('.graph .node').length") > counts[0]
    page.click("#wide")
    assert page.do("return document.getElementById('inside-app').classList.contains('wide')")


def test_boxes_do_not_overlap_and_edges_end_at_them(page, made):
    page.click('[data-level="99"]')
    boxes = page.do("return [...document.querySelectorAll('.graph .box')].map(b => ['x', 'y', 'width', 'height'].map(n => "
                    "Number(b.getAttribute(n))))")
    boxes = np.array(boxes)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    apart = (high[:, None] <= low[None]) | (high[None] <= low[:, None])
    assert (apart.any(axis=2) | np.eye(len(boxes), dtype=bool)).all()
    assert page.do("return document.querySelectorAll('.graph .edge').length") >= len(boxes)


def test_maps_are_chosen_and_zoomed(page, made):
    page.wait("document.querySelector('#sheet')?.dataset.drawn")
    channels = made[1].nodes[page.do("return state.node")].shape[0]
    assert page.do("return Number(document.querySelector('#sheet').dataset.drawn)") == channels
    assert changes(page, "#view-map", lambda: page.do("update({channel: (state.channel + 1) % arguments[0]})", channels))
    before = page.do("return state.channel")
    page.keys("#sheet", "ARROW_LEFT" if before else "ARROW_RIGHT")
    assert page.do("return state.channel") == before + (-1 if before else 1)
    assert changes(page, "#view-image", lambda: (page.do("update({unit: [0, 0]})"), page.click("#view-map")))
    assert page.do("return state.unit") != [0, 0]
    unit = page.do("return state.unit")
    page.keys("#view-map", "ARROW_UP")
    assert page.do("return state.unit") == [unit[0] - 1, unit[1]]
    assert changes(page, "#sheet", lambda: page.keys("#zoom", "ARROW_RIGHT", "ARROW_RIGHT"))
    page.click("#alone")
    page.click("#sorted")
    page.wait("document.querySelector('#sheet')?.dataset.drawn")
    assert "unit (" in page.find("#caption-map").text


def test_every_tab_opens_for_every_kind_of_layer(page, made):
    kinds = {node.kind: i for i, node in enumerate(made[1].nodes)}
    for kind, i in kinds.items():
        page.do("select(arguments[0], null, {tab: 'maps', reveal: true})", i)
        shown = page.find(".layer-name").text
        assert kind in shown
        for tab in ("value", "weights", "spread", "code", "maps"):
            page.click(f"#tab-{tab}")
            assert page.find("#tab-panel").text.strip(), (kind, tab)
        page.click("#tab-code")
        assert page.do("return document.querySelector('.formula').textContent.length") > 4
        assert "def forward" in page.do("return document.querySelector('pre.code').textContent")
    page.keys("#tab-code", "ARROW_LEFT")
    assert page.do("return document.activeElement.id") == "tab-spread"
    page.click("#before")
    assert page.do("return state.node") == list(kinds.values())[-1] - 1


def test_values_are_explained_by_the_networks_own_numbers(page, made):
    """For a node of each kind, at several units: the page's sum is the network's value, to float32's rounding of the sum."""
    nodes, explained = made[1].nodes, set()
    firsts = {node.kind: i for i, node in reversed(list(enumerate(nodes)))}
    for kind, i in firsts.items():
        node = nodes[i]
        kept = page.do("const b = blockOf(inside.nodes[arguments[0]]); return b && [b.kind, b.channels, b.rows, b.columns]", i)
        if kept is None:
            continue
        for pick in (0, len(kept[1]) // 2, -1):
            channel, row, column = kept[1][pick], kept[2][pick % len(kept[2])], kept[3][-1]
            page.do("select(arguments[0], null, {tab: 'value', channel: arguments[1], unit: [arguments[2], arguments[3]], "
                    "backward: false})", i, channel, row, column)
            found, value = page.do(RESULT)
            own = node.y[0, channel, row, column] if node.is_map else node.y[0, channel]
            assert value == own, kind
            assert found == pytest.approx(float(own), abs=2e-5 * float(np.abs(node.y).max())), (kind, channel, row, column)
            page.do("update({backward: true})")
            gradient = page.do("return blockOf(inside.nodes[state.node]).gy(state.channel, ...state.unit)")
            assert gradient == (node.gy[0, channel, row, column] if node.is_map else node.gy[0, channel])
            found, value = page.do(RESULT)
            assert found == pytest.approx(value, rel=1e-3, abs=1e-6 + 1e-4 * abs(float(gradient))), kind
        explained.add(kept[0])
    expected = {"alexnet": {"conv", "max", "lrn", "linear", "pointwise"}, "squeezenet1_0": {"conv", "max", "concat", "plane"},
                "resnet20": {"conv", "batch_norm", "pointwise"}, "densenet_40_12": {"conv", "batch_norm", "average", "concat"},
                "own": {"conv", "batch_norm", "linear", "other"}, "fused": {"conv", "batch_norm", "linear", "plane"}}
    assert expected[made[2]] <= explained


def test_a_click_on_a_pixel_changes_its_explanation(page, made):
    page.click("#tab-value")
    page.do("setUnit([0, 0])")
    page.wait("document.querySelector('#caption-map').textContent")
    before = page.find(".told").text
    page.click("#view-map")
    assert page.find(".told").text != before
    shown = page.do("return document.querySelectorAll('.cells td').length")
    assert shown >= 3
    page.click('[data-way="backward"]')
    assert "∂score" in page.find(".headline").text
    page.click(".shares button:last-of-type")
    assert page.do("return state.input") is not None


def test_a_point_of_the_gradient_plot_leads_to_its_layer(page, made):
    page.do("document.querySelector('#flow .dot.press:last-of-type').dispatchEvent(new Event('click'))")
    number = page.do("return Number(document.querySelector('#flow .dot.press:last-of-type').dataset.node)")
    assert page.do("return [state.node, state.tab]") == [number, "spread"]
    assert page.do("return document.querySelectorAll('.histogram').length") >= 2


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(made, browser, width):
    opened = chromium.Page(browser, made[0], width)
    opened.wait("document.querySelectorAll('[data-evidence]').length > 1")
    for tab in ("maps", "value", "weights", "spread", "code"):
        opened.click(f"#tab-{tab}")
        assert opened.do("return document.documentElement.scrollWidth") <= width, tab


def test_the_page_is_small_enough(made):
    assert made[0].stat().st_size <= LARGEST
