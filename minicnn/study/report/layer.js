// One layer: its figures, maps, one value, weights, distributions, code.

const TABS = [["maps", "Maps"], ["value", "One value"], ["weights", "Weights"], ["spread", "Distributions"], ["code", "Code"]];

// Look at a node, or at the part `module` by its last node; at its strongest channel, where that is strongest.
function select(node, module = null, more = {}) {
  const found = inside.nodes[node], block = blockOf(found);
  let channel = 0, unit = [0, 0];
  if (block) {
    const y = values(block.arrays.y);
    let best = 0;
    for (let i = 1; i < y.length; i += 1) if (y[i] > y[best]) best = i;
    const across = block.columns.length, down = block.rows.length;
    channel = block.channels[Math.floor(best / (across * down))];
    unit = [block.rows[Math.floor(best / across) % down], block.columns[best % across]];
  }
  update({node, module, channel, unit, input: null, ...more});
}

function showInside() {
  const app = document.getElementById("inside-app");
  const pane = element("div", {class: "graph", tabindex: 0, "aria-label": "the network's graph"});
  const panel = element("div", {class: "layer"});
  const openTo = graph(pane);
  const levels = [["stages", 1], ["blocks", 2], ["everything", 99]].map(([name, level]) =>
    element("button", {type: "button", "data-level": level, onclick: () => openTo(level)}, name));
  const wide = element("button", {type: "button", id: "wide", "aria-pressed": false, onclick: () => {
    wide.setAttribute("aria-pressed", app.classList.toggle("wide"));
    update({reveal: true});
  }}, "wide");
  app.append(element("div", {class: "graph-side"}, element("p", {class: "buttons"}, levels, wide), pane), panel);
  watchers.push(change => {
    if ("node" in change) showLayer(panel);
    else if (["tab", "channel", "unit", "alone", "zoom", "sorted", "input", "backward"].some(name => name in change)) {
      showTab(panel, change);
    }
  });
  showLayer(panel);
}

function showLayer(panel) {
  const node = inside.nodes[state.node], module = state.module !== null ? inside.modules[state.module] : null;
  const figures = figuresOf(module ? partNodes(state.module) : [state.node]);
  const check = node.check === null || node.check === undefined ? null : inside.checks[node.check];
  const facts = [["output", figures.shape], ["parameters", figures.parameters.toLocaleString("en")],
    ["MACs", count(figures.macs)], ["sees", figures.sees ? (figures.sees === "all" ? "the whole image" : `${figures.sees} pixels`) : "–"],
    ["forward", duration(figures.forward)], ["backward", duration(figures.backward)],
    ["share of the time", figures.share === null ? "–" : `${number(100 * figures.share, 3)} %`]];
  if (!module) facts.push(["gradient check", check ? (check.passed ? "right" : "WRONG") : "–"]);
  if (node.silent) facts.push(["silent channels", `${node.silent.length} of ${node.shape[0]}`]);
  const tabs = element("div", {class: "tabs", role: "tablist", "aria-label": "views of the layer"}, TABS.map(([key, title]) =>
    element("button", {type: "button", role: "tab", id: `tab-${key}`, "data-tab": key, "aria-controls": "tab-panel",
      onclick: () => update({tab: key}), onkeydown: turn}, title)));
  const title = module ? state.module || inside.name : node.path || node.kind;
  panel.replaceChildren(element("h3", {class: "layer-name"}, title, " ", element("small", {}, module ? module.kind : node.kind),
    element("span", {class: "steps"},
      element("button", {type: "button", "aria-label": "layer before", id: "before", onclick: () => go(-1)}, "‹"),
      element("button", {type: "button", "aria-label": "layer after", id: "after", onclick: () => go(1)}, "›"))),
  element("dl", {class: "facts"}, facts.map(([name, value]) => element("div", {}, element("dt", {}, name),
    element("dd", {class: value === "WRONG" ? "bad" : value === "right" ? "ok" : null}, value)))), tabs,
  element("div", {id: "tab-panel", class: "tab-panel", role: "tabpanel", tabindex: 0}));
  showTab(panel, {});

  function go(way) {
    const next = state.node + way;
    if (next >= 0 && next < inside.nodes.length) {
      select(next, null, {reveal: true});
      document.getElementById(way < 0 ? "before" : "after").focus();
    }
  }
}

function turn(event) {
  const way = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!way) return;
  event.preventDefault();
  const next = (TABS.findIndex(([key]) => key === state.tab) + way + TABS.length) % TABS.length;
  update({tab: TABS[next][0]});
  document.getElementById(`tab-${TABS[next][0]}`).focus();
}

// The nodes of a module and of what is in it.
function partNodes(path) {
  return inside.nodes.flatMap((node, i) => path === "" || node.path === path || node.path.startsWith(`${path}.`) ? [i] : []);
}

function showTab(panel, change) {
  for (const button of panel.querySelectorAll("[role=tab]")) {
    button.setAttribute("aria-selected", button.dataset.tab === state.tab);
    button.tabIndex = button.dataset.tab === state.tab ? 0 : -1;
  }
  const body = panel.querySelector(".tab-panel"), node = inside.nodes[state.node];
  body.setAttribute("aria-labelledby", `tab-${state.tab}`);
  if (state.tab === "maps" && node.maps && body.dataset.shows === `maps ${state.node}` && !("zoom" in change) &&
      !("alone" in change) && !("sorted" in change) && !("tab" in change)) {
    drawViews(body);
    markChannel(body);
    return;
  }
  body.dataset.shows = `${state.tab} ${state.node}`;
  const kept = document.activeElement?.dataset?.keep;
  ({maps: showMaps, value: showValue, weights: showWeights, spread: showSpread, code: showCode})[state.tab](body, node);
  if (kept) body.querySelector(`[data-keep="${kept}"]`)?.focus({preventScroll: true});
}

// The image with what the unit sees, and the chosen map with the unit; in the "value" tab the input map between them.
function views(node, withInput = false) {
  const figures = [element("figure", {}, element("canvas", {class: "view", id: "view-image", role: "img",
    "aria-label": "the image, and on it what the unit sees"}), element("figcaption", {id: "caption-image"}))];
  if (withInput) {
    figures.push(element("figure", {}, element("canvas", {class: "view", id: "view-input", role: "img",
      "aria-label": "the input map, and on it the window"}), element("figcaption", {id: "caption-input"})));
  }
  figures.push(element("figure", {}, element("canvas", {class: "view", id: "view-map", tabindex: 0, "data-keep": "map",
    role: "application", "aria-label": "the map of the channel; arrow keys move the unit, page up and down change the channel",
    onclick: pickUnit, onkeydown: moveUnit}), element("figcaption", {id: "caption-map"})));
  return element("div", {class: "views"}, figures);
}

const VIEW = 232;       // pixels of a view's longer side

async function drawViews(body) {
  const node = inside.nodes[state.node], [channel, unit] = [state.channel, state.unit];
  const pictures = await Promise.all([load(inside.picture), node.maps ? mapImage(node, channel, state.alone) : null]);
  if (node !== inside.nodes[state.node] || channel !== state.channel || unit !== state.unit || !body.isConnected) return;
  const seen = fieldOf(node, unit), image = body.querySelector("#view-image"), map = body.querySelector("#view-map");
  if (image) {
    frame(image, pictures[0], inside.height, inside.width, seen);
    body.querySelector("#caption-image").textContent = seen ? seenText(node) : "one unit sees the whole image";
  }
  if (map && node.maps) {
    frame(map, canvasOf(pictures[1]), node.shape[1], node.shape[2], [unit[0], unit[0] + 1, unit[1], unit[1] + 1]);
    const block = blockOf(node), value = block?.y(channel, ...unit);
    body.querySelector("#caption-map").textContent = `channel ${channel} of ${node.shape[0]}, unit (${unit.join(", ")})` +
      (value === undefined ? "" : ` = ${number(value)}`);
  }
}

function seenText(node) {
  return `red: the ${node.field[0][1]}×${node.field[1][1]} pixels that unit (${state.unit.join(", ")}) sees`;
}

// What a unit sees as [top, bottom, left, right] in pixels of the image, not cut at its border; null for all.
function fieldOf(node, unit) {
  if (!node.field || !node.maps || node.field.some(([, , jump]) => jump === 0)) return null;
  return node.field.flatMap(([start, size, jump], axis) => [start + unit[axis] * jump, start + unit[axis] * jump + size]);
}

// Draw a picture of height x width units enlarged, with a rectangle [top, bottom, left, right] around some of them.
function frame(canvas, picture, height, width, around) {
  const scale = VIEW / Math.max(height, width);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (!around) return;
  const [top, bottom, left, right] = around.map(side => side * scale);
  const x = Math.max(1.5, left), y = Math.max(1.5, top);
  const rectangle = [x, y, Math.max(2, Math.min(canvas.width - 1.5, right) - x), Math.max(2, Math.min(canvas.height - 1.5, bottom) - y)];
  for (const [colour, thick] of [["#fff", 4], ["#e0252d", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.strokeRect(...rectangle);
  }
}

function pickUnit(event) {
  const node = inside.nodes[state.node], size = event.currentTarget.getBoundingClientRect();
  const row = Math.floor((event.clientY - size.top) / size.height * node.shape[1]);
  const column = Math.floor((event.clientX - size.left) / size.width * node.shape[2]);
  setUnit([row, column]);
}

// The unit, moved to the nearest one whose numbers are in the page while its value is explained.
function setUnit([row, column]) {
  const node = inside.nodes[state.node], block = blockOf(node);
  const unit = [Math.max(0, Math.min(node.shape[1] - 1, row)), Math.max(0, Math.min(node.shape[2] - 1, column))];
  update({unit: state.tab === "value" && block ? [nearest(block.rows, unit[0]), nearest(block.columns, unit[1])] : unit});
}

function nearest(list, wanted) {
  return list.reduce((best, each) => Math.abs(each - wanted) < Math.abs(best - wanted) ? each : best);
}

// Arrow keys move by one unit, or to the next whose numbers are in the page.
function moveUnit(event) {
  const node = inside.nodes[state.node], block = state.tab === "value" ? blockOf(node) : null;
  const move = {ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [1, -1], ArrowRight: [1, 1]}[event.key];
  const turn = {PageUp: -1, PageDown: 1}[event.key];
  if (!move && !turn) return;
  event.preventDefault();
  if (turn) {
    const channels = block ? block.channels : null, at = channels ? channels.indexOf(state.channel) + turn : state.channel + turn;
    const next = channels ? channels[at] : at;
    if (next >= 0 && next < node.shape[0]) update({channel: next, input: null});
    return;
  }
  const unit = [...state.unit], lists = block && [block.rows, block.columns];
  if (lists) unit[move[0]] = lists[move[0]][lists[move[0]].indexOf(unit[move[0]]) + move[1]] ?? unit[move[0]];
  else unit[move[0]] += move[1];
  setUnit(unit);
}

function showMaps(body, node) {
  if (node.values) return showVector(body, node);
  if (!node.maps) {
    body.replaceChildren(element("p", {class: "none"}, `The output, ${sides(node.shape)}, is neither maps nor a vector.`));
    return;
  }
  const order = channelOrder(node);
  body.replaceChildren(views(node), element("div", {class: "tools"},
    element("label", {}, "size ", element("input", {type: "range", min: 24, max: 240, step: 8, value: state.zoom, "data-keep": "zoom",
      id: "zoom", oninput: event => update({zoom: Number(event.target.value)})})),
    check("alone", "each channel over its own range"), check("sorted", "strongest first")),
  element("p", {class: "hint"}, `${node.shape[0]} channels of ${sides(node.shape.slice(1))}` +
    (node.maps.height < node.shape[1] ? `, drawn at ${node.maps.height}×${node.maps.width}` : "") + ". Choose one by clicking, or with the arrow keys."),
  element("canvas", {class: "sheet", id: "sheet", tabindex: 0, "data-keep": "sheet", role: "application",
    "aria-label": `all ${node.shape[0]} channels; arrow keys choose one`, onclick: pick, onkeydown: key}));
  drawViews(body);
  drawSheet(body, node, order);

  function pick(event) {
    const {columns, cell} = layoutOf(body, node), size = event.currentTarget.getBoundingClientRect();
    const scale = event.currentTarget.width / size.width;
    const at = Math.floor((event.clientY - size.top) * scale / cell[1]) * columns + Math.floor((event.clientX - size.left) * scale / cell[0]);
    if (order[at] !== undefined) update({channel: order[at]});
  }

  function key(event) {
    const {columns} = layoutOf(body, node);
    const way = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns}[event.key];
    if (!way) return;
    event.preventDefault();
    const next = order[order.indexOf(state.channel) + way];
    if (next !== undefined) update({channel: next});
  }

  function check(name, text) {
    return element("label", {class: "check"}, element("input", {type: "checkbox", id: name, checked: state[name], "data-keep": name,
      onchange: event => update({[name]: event.target.checked})}), ` ${text}`);
  }
}

function channelOrder(node) {
  const order = Array.from({length: node.shape[0]}, (_, i) => i);
  if (!state.sorted || !node.maps) return order;
  const [low, high] = [values(node.maps.low), values(node.maps.high)];
  return order.sort((a, b) => Math.max(-low[b], high[b]) - Math.max(-low[a], high[a]) || a - b);
}

// Columns of the sheet, its cells [width, height] and the pixels between the maps.
function layoutOf(body, node) {
  const space = Math.max(200, body.clientWidth), tall = node.maps.height / node.maps.width;
  const columns = Math.max(1, Math.min(node.shape[0], Math.floor(space / (state.zoom + 3))));
  return {columns, cell: [state.zoom + 3, Math.max(1, Math.round(state.zoom * tall)) + 3]};
}

async function drawSheet(body, node, order) {
  const sheet = body.querySelector("#sheet"), {columns, cell} = layoutOf(body, node);
  const rows = Math.ceil(order.length / columns), sharp = Math.min(window.devicePixelRatio || 1, 2);
  const fits = Math.min(1, Math.sqrt(4e7 / (columns * cell[0] * rows * cell[1] * sharp * sharp)), 16000 / (rows * cell[1] * sharp));
  sheet.width = columns * cell[0];
  sheet.height = Math.floor(rows * cell[1] * Math.max(fits, 0.1));
  sheet.style.width = `${columns * cell[0]}px`;
  const context = sheet.getContext("2d"), zoom = state.zoom;
  await grey(node.maps.uri);
  const turns = Math.floor(sheet.height / cell[1]) * columns;
  for (let i = 0; i < Math.min(order.length, turns); i += 1) {
    const image = canvasOf(await mapImage(node, order[i], state.alone));
    if (!sheet.isConnected || node !== inside.nodes[state.node] || zoom !== state.zoom) return;
    context.imageSmoothingEnabled = image.width > zoom;
    context.drawImage(image, i % columns * cell[0] + 1.5, Math.floor(i / columns) * cell[1] + 1.5, cell[0] - 3, cell[1] - 3);
  }
  sheet.dataset.drawn = order.length;
  markChannel(body);
}

function markChannel(body) {
  const node = inside.nodes[state.node], sheet = body.querySelector("#sheet");
  if (!sheet || !node.maps) return;
  const {columns, cell} = layoutOf(body, node), context = sheet.getContext("2d"), order = channelOrder(node);
  const paper = getComputedStyle(document.body).getPropertyValue("--card").trim() || "#fff";
  const draw = (at, colour) => {
    context.lineWidth = 2;
    context.strokeStyle = colour;
    context.strokeRect(at % columns * cell[0] + 1, Math.floor(at / columns) * cell[1] + 1, cell[0] - 2, cell[1] - 2);
  };
  if (sheet.dataset.marked) draw(Number(sheet.dataset.marked), paper);
  const at = order.indexOf(state.channel);
  draw(at, "#e0252d");
  sheet.dataset.marked = at;
}

// A vector of values as bars; of the network's answer the largest with their names.
function showVector(body, node) {
  const all = values(node.values), order = Array.from(all.keys()).sort((a, b) => Math.abs(all[b]) - Math.abs(all[a]));
  const names = new Map(inside.classes.map(answer => [answer.index, answer.name]));
  const answer = state.node === inside.nodes.length - 1;
  body.replaceChildren(element("p", {class: "hint"}, `${all.length} values. Choose one to see what made it.`),
    bars(all, state.channel, i => update({channel: i, tab: "value"})),
    element("h4", {}, "The largest"), element("ol", {class: "largest"}, order.slice(0, 12).map(i => element("li", {},
      element("button", {type: "button", class: "link", onclick: () => update({channel: i, tab: "value"})},
        `${i}${answer && names.has(i) ? ` ${names.get(i)}` : ""}`), ` ${number(all[i])}`))));
}

// Values as bars up and down from 0; chosen: the number of one in another colour.
function bars(all, chosen, act) {
  const width = 720, height = 120, step = width / all.length;
  let top = 1e-30;
  for (const value of all) if (Number.isFinite(value)) top = Math.max(top, Math.abs(value));
  let path = "";
  all.forEach((value, i) => {
    if (Number.isFinite(value)) path += `M${(i + 0.5) * step} ${height / 2}V${height / 2 * (1 - value / top)}`;
  });
  const picture = drawing("svg", {class: "bars", viewBox: `0 0 ${width} ${height}`, role: "img", preserveAspectRatio: "none",
    "aria-label": `${all.length} values from ${number(Math.min(...all))} to ${number(Math.max(...all))}`,
    onclick: act && (event => {
      const size = picture.getBoundingClientRect();
      act(Math.min(all.length - 1, Math.max(0, Math.floor((event.clientX - size.left) / size.width * all.length))));
    })},
  drawing("path", {class: "axis", d: `M0 ${height / 2}H${width}`}),
  drawing("path", {class: "values", d: path, "stroke-width": Math.max(0.7, step * 0.8)}));
  if (chosen !== null && all[chosen] !== undefined) {
    picture.append(drawing("path", {class: "marked", "stroke-width": Math.max(2, step * 0.8),
      d: `M${(chosen + 0.5) * step} ${height / 2}V${height / 2 * (1 - all[chosen] / top)}`}));
  }
  return element("figure", {class: "barred"}, picture);
}

function showWeights(body, node) {
  if (!node.weights.length) {
    body.replaceChildren(element("p", {class: "none"}, "This operation has no weights."));
    return;
  }
  body.replaceChildren(...node.weights.flatMap(weight => [element("h4", {}, weightTitle(weight)), weightPicture(weight)]));
}

function weightTitle(weight) {
  const shown = {colours: "the filters as colours, grey is 0", filters: `each row a filter, each column an input channel` +
    (weight.count < weight.shape[0] * weight.shape[1] ? " (the first of each)" : ""), matrix: "rows are outputs, columns inputs" +
    (weight.height < weight.shape[0] || weight.width < weight.shape[1] ? ` (the first ${weight.height}×${weight.width})` : ""),
  values: "one value a channel"}[weight.kind];
  return `${sides(weight.shape)}: ${shown}`;
}

function weightPicture(weight) {
  if (weight.kind === "values") return bars(values(weight.values), state.channel, null);
  const canvas = element("canvas", {class: "weights", role: "img", "aria-label": weightTitle(weight), "data-weight": weight.kind});
  const tiles = weight.kind === "matrix" ? {columns: 1, count: 1} : weight;
  load(weight.uri).then(async image => {
    const source = weight.kind === "colours" ? image : canvasOf(tinted(await grey(weight.uri)));
    const rows = Math.ceil(tiles.count / tiles.columns), gap = weight.kind === "matrix" ? 0 : 1;
    const room = Math.max(260, (document.querySelector(".tab-panel")?.clientWidth ?? 700) - 4);
    const scale = Math.max(1, Math.min(weight.kind === "colours" ? 5 : 8, Math.floor(room / (tiles.columns * (weight.width + gap)))));
    const [w, h] = [weight.width * scale, weight.height * scale];
    canvas.width = tiles.columns * (w + gap);
    canvas.height = rows * (h + gap);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    for (let i = 0; i < tiles.count; i += 1) {
      const [x, y] = [i % tiles.columns, Math.floor(i / tiles.columns)];
      context.drawImage(source, x * weight.width, y * weight.height, weight.width, weight.height, x * (w + gap), y * (h + gap), w, h);
    }
    if (tiles.across !== undefined && state.channel * tiles.across < tiles.count) {
      context.strokeStyle = "#e0252d";
      context.lineWidth = 2;
      const first = state.channel * tiles.across, x = first % tiles.columns * (w + gap), y = Math.floor(first / tiles.columns) * (h + gap);
      context.strokeRect(x + 1, y + 1, Math.min(tiles.across, tiles.columns) * (w + gap) - 2, h - 1);
    }
    canvas.dataset.drawn = "yes";
  });
  return element("div", {class: "scroll", tabindex: 0}, canvas);
}

function tinted({width, height, pixels}) {
  const image = new ImageData(width, height);
  for (let i = 0; i < pixels.length; i += 1) colourAt(POLES, image.data, 4 * i, pixels[i]);
  return image;
}

function showSpread(body, node) {
  const s = node.statistics, shown = Object.entries(node.histograms).filter(([, histogram]) => histogram);
  const facts = [["smallest", number(s.min)], ["largest", number(s.max)], ["mean", number(s.mean)],
    ["standard deviation", number(s.std)], ["zeros", s.zeros === undefined ? "–" : `${number(100 * s.zeros, 3)} %`],
    ["norm of the gradient", number(s.gradient)], ["norm of the weights’ gradient", number(s.weightGradient)]];
  const titles = {activations: "Activations", gradients: `Gradients of the score of ${inside.classes[0].name}`, weights: "Weights"};
  body.replaceChildren(element("div", {class: "histograms"}, shown.map(([name, histogram]) => element("figure", {"data-histogram": name},
    element("figcaption", {}, titles[name]), histogramPicture(histogram, name)))),
  element("dl", {class: "facts"}, facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
  silentText(node));
}

function silentText(node) {
  if (!node.silent) return element("p", {class: "hint"}, "Values here may be negative, so no channel counts as silent.");
  const over = inside.images > 1 ? `for all of ${inside.images} images` : "for this image";
  if (!node.silent.length) return element("p", {class: "hint"}, `No channel is silent (0 everywhere) ${over}.`);
  return element("div", {}, element("p", {class: "hint"}, `${node.silent.length} of ${node.shape[0]} channels are silent, 0 everywhere, ${over}:`),
    element("p", {class: "chips"}, node.silent.slice(0, 200).map(channel => element("button", {type: "button",
      onclick: () => update({channel, tab: "maps"})}, String(channel)))));
}

// A histogram with its counts on a logarithmic scale, so that tails show beside a peak of zeros.
function histogramPicture({low, high, counts}, name) {
  const width = 340, height = 150, floor = height - 20, most = Math.log1p(Math.max(...counts)), step = width / counts.length;
  const columns = counts.map((many, i) => many ? drawing("rect", {x: i * step, width: Math.max(0.5, step - 0.8),
    y: floor - (floor - 8) * Math.log1p(many) / most, height: (floor - 8) * Math.log1p(many) / most},
  drawing("title", {}, `${number(low + (high - low) * i / counts.length)} to ${number(low + (high - low) * (i + 1) / counts.length)}: ${many.toLocaleString("en")}`)) : null);
  const zero = low < 0 && high > 0 ? width * -low / (high - low) : null;
  return drawing("svg", {class: `histogram ${name}`, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `distribution from ${number(low)} to ${number(high)}`}, columns,
  drawing("path", {class: "axis", d: `M0 ${floor}H${width}`}),
  drawing("text", {x: 0, y: height - 4}, number(low, 3)), drawing("text", {x: width, y: height - 4, "text-anchor": "end"}, number(high, 3)),
  zero === null ? null : drawing("path", {class: "zero", d: `M${zero} 4V${floor + 4}`}),
  zero === null || zero < 40 || zero > width - 40 ? null : drawing("text", {x: zero, y: height - 4, "text-anchor": "middle"}, "0"));
}

function showCode(body, node) {
  const module = state.module !== null ? inside.modules[state.module] : null, own = inside.modules[node.path];
  const check = node.check === null || node.check === undefined ? null : inside.checks[node.check];
  const parts = [];
  if (module) parts.push(source("The part", module.source, true));
  else {
    parts.push(element("h4", {}, "Formula"), element("pre", {class: "formula"}, node.formula || "This operation has no docstring."));
    parts.push(element("h4", {}, "Gradient check"), verdict(check));
    if (node.room) parts.push(element("h4", {}, `The ladder of ${node.room}`), ladder(node.room));
    parts.push(source("The operation: forward and backward", node.source, true));
    parts.push(source("The kernel it is checked against, the lowest rung", node.reference, false));
    if (own) parts.push(source(`The module ${own.kind}(${own.arguments})`, own.source, false));
  }
  body.replaceChildren(...parts.filter(Boolean));
}

function verdict(check) {
  if (!check) return element("p", {class: "hint"}, "Not checked by itself.");
  const more = check.alike > 1 ? ` Checked once for ${check.alike} operations like it.` : "";
  return element("div", {}, element("p", {}, element("span", {class: check.passed ? "ok" : "bad"}, check.passed ? "right" : "WRONG"),
    `: in float64, on inputs of ${check.detail}, backward and central differences differ by at most ${number(check.error, 2)}, relative.${more}`),
  check.message ? element("pre", {}, check.message) : null);
}

function ladder(room) {
  const results = inside.kernels.filter(result => result.op === room);
  if (!results.length) return element("p", {class: "hint"}, "Not timed.");
  return element("div", {}, results.map(result => {
    const slowest = Math.max(...result.rows.map(row => row.warm ?? 0));
    return element("div", {class: "scroll", tabindex: 0}, element("p", {class: "hint"}, `${result.title}, ${result.detail}: the heaviest of this network`),
      element("table", {class: "ladder"}, element("thead", {}, element("tr", {}, ["rung", "direction", "time", "", result.unit, "gain"]
        .map((name, i) => element("th", {class: i > 1 ? "number" : "what"}, name)))), element("tbody", {}, result.rows.map(row => element("tr", {},
        element("td", {}, row.rung), element("td", {}, row.direction), element("td", {class: "number"}, row.agrees ? duration(row.warm) : "wrong"),
        element("td", {class: "bar-cell"}, element("i", {class: row.direction, style: `width:${100 * (row.warm ?? 0) / slowest}%`})),
        element("td", {class: "number"}, row.rate ? number(row.rate, 3) : "–"),
        element("td", {class: "number"}, row.gain ? `× ${number(row.gain, 2)}` : ""))))));
  }));
}

function source(title, key, open) {
  if (!key || !inside.sources[key]) return null;
  return element("details", {class: "fold", open}, element("summary", {}, `${title} `, element("code", {}, key)),
    element("pre", {class: "code"}, highlighted(inside.sources[key])));
}

const PYTHON = new RegExp(["(\"\"\"[\\s\\S]*?\"\"\"|\"(?:\\\\.|[^\"\\\\\\n])*\"|'(?:\\\\.|[^'\\\\\\n])*')", "(#[^\\n]*)",
  "\\b(and|as|class|def|elif|else|for|from|if|import|in|is|lambda|not|or|return|while|with|None|True|False|self|yield|raise|try|except)\\b",
  "\\b(\\d[\\d.e]*)\\b"].join("|"), "g");

// Python's strings, comments, keywords and numbers in spans of their own.
function highlighted(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(PYTHON)) {
    const kind = ["string", "comment", "keyword", "digit"][[1, 2, 3, 4].find(i => match[i] !== undefined) - 1];
    parts.push(text.slice(end, match.index), element("span", {class: kind}, match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}
