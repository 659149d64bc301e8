// One value: the numbers that made it, and where its gradient goes.

// The numbers of a node that are in the page, by their places: y and gy of outputs, x and gx of inputs.
function blockOf(node) {
  const block = node.block;
  if (!block || block.y) return block;
  const index = list => new Map(list.map((value, i) => [value, i]));
  const out = [block.channels, block.rows, block.columns].map(index), into = [block.xChannels, block.xRows, block.xColumns].map(index);
  const reader = places => (name, ...at) => {
    const packed = block.arrays[name], [c, i, j] = at.map((place, axis) => places[axis].get(place));
    if (!packed || c === undefined || i === undefined || j === undefined) return undefined;
    return values(packed)[(c * packed.shape[1] + i) * packed.shape[2] + j];
  };
  const [readOut, readIn] = [reader(out), reader(into)];
  block.y = (...at) => readOut("y", ...at);
  block.gy = (...at) => readOut("gy", ...at);
  block.x = (...at) => readIn("x", ...at);
  block.gx = (...at) => readIn("gx", ...at);
  block.add = (...at) => readOut("add", ...at);
  block.input = (i, ...at) => readIn(`x${i}`, ...at);
  block.own = (name, channel) => block.arrays[name] && values(block.arrays[name])[out[0].get(channel)];
  block.place = channel => out[0].get(channel);
  return block;
}

function showValue(body, node) {
  const block = blockOf(node);
  if (!block) {
    body.replaceChildren(element("p", {class: "none"}, "The output is neither maps nor a vector of one image, so there is no single value to show."));
    return;
  }
  if (block.place(state.channel) === undefined || block.y(state.channel, ...state.unit) === undefined) {
    state.channel = nearest(block.channels, state.channel);
    state.unit = [nearest(block.rows, state.unit[0]), nearest(block.columns, state.unit[1])];
  }
  const at = {node, block, channel: state.channel, unit: state.unit, value: block.y(state.channel, ...state.unit),
    gradient: block.gy(state.channel, ...state.unit)};
  const told = (state.backward ? BACKWARD : FORWARD)[block.kind]?.(at) ?? {parts: [element("p", {class: "hint"},
    "How this operation makes its values is not drawn here; its code is under Code.")]};
  const input = inputOf(node), around = told.window;
  body.replaceChildren(node.maps ? views(node, input !== null && around !== undefined) : element("p", {class: "hint"}, "A vector: choose a value."),
    chooser(at), ways(), element("div", {class: "told"}, heading(at), told.parts));
  if (!node.maps && node.values) body.firstChild.replaceWith(bars(values(node.values), state.channel, i => update({channel: nearest(block.channels, i), input: null})));
  if (node.maps) drawViews(body);
  if (around !== undefined && input !== null) drawInput(body, input, told.inputChannel, around);
}

function heading({channel, unit, value, gradient, node}) {
  const place = node.maps ? `[${channel}, ${unit[0]}, ${unit[1]}]` : `[${channel}]`;
  return element("p", {class: "headline"}, state.backward ? ["∂score / ∂y", element("sub", {}, place), " = "] : ["y", element("sub", {}, place), " = "],
    element("b", {}, number(state.backward ? gradient : value, 7)),
    state.backward ? element("small", {}, ` the score of ${inside.classes[0].name}`) : null);
}

// Which channel, and how much of the layer is in the page.
function chooser({block, node}) {
  const all = node.shape[0], places = block.rows.length * block.columns.length, most = (node.shape[1] ?? 1) * (node.shape[2] ?? 1);
  const whole = block.channels.length === all && places === most;
  return element("div", {class: "tools"}, element("label", {}, "channel ", element("select", {id: "channel", "data-keep": "channel",
    onchange: event => update({channel: Number(event.target.value), input: null})}, block.channels.map(channel =>
    element("option", {value: channel, selected: channel === state.channel}, String(channel))))),
  element("span", {class: "hint"}, whole ? "every number of this layer is in the page" : `numbers of ${block.channels.length} of ${all} channels` +
    (places === most ? "" : ` at ${places} of ${most.toLocaleString("en")} positions`) + " are in the page; a click goes to the nearest"));
}

function ways() {
  return element("div", {class: "ways", role: "radiogroup", "aria-label": "direction"}, [[false, "What made it"], [true, "Where its gradient goes"]]
    .map(([backward, text]) => element("button", {type: "button", role: "radio", "aria-checked": state.backward === backward,
      tabindex: state.backward === backward ? 0 : -1, "data-keep": state.backward === backward ? "way" : null, "data-way": backward ? "backward" : "forward",
      onclick: () => update({backward}), onkeydown: event => {
        if (!event.key.startsWith("Arrow")) return;
        event.preventDefault();
        update({backward: !state.backward});
        document.querySelector(".ways [aria-checked=true]").focus();
      }}, text)));
}

const inputOf = node => node.inputs.find(input => input !== null) ?? null;

// The input map under the window, [top, bottom, left, right] in its pixels.
async function drawInput(body, input, channel, around) {
  const canvas = body.querySelector("#view-input"), source = input === -1 ? null : inside.nodes[input];
  if (!canvas || (source && !source.maps)) return;
  const picture = source ? canvasOf(await mapImage(source, channel ?? 0, state.alone)) : await load(inside.picture);
  if (!canvas.isConnected) return;
  const [height, width] = source ? source.shape.slice(1) : [inside.height, inside.width];
  frame(canvas, picture, height, width, around);
  body.querySelector("#caption-input").textContent = source ? `the input's channel ${channel ?? 0}, red: the window` : "the input is the image, red: the window";
}

// A table of numbers, coloured by their size; undefined is padding.
function grid(title, rows, columns, get, mark = () => false) {
  let top = 0;
  for (let r = 0; r < rows; r += 1) for (let s = 0; s < columns; s += 1) top = Math.max(top, Math.abs(get(r, s) ?? 0));
  const line = r => element("tr", {}, Array.from({length: columns}, (_, s) => {
    const value = get(r, s);
    if (value === undefined) return element("td", {class: "padding", title: "padding"}, "·");
    const [colour, dark] = shade(value, top);
    return element("td", {class: `${dark ? "dark" : "light"}${mark(r, s) ? " hit" : ""}`, style: `background:${colour}`, title: number(value, 9)}, number(value, 3));
  }));
  return element("figure", {class: "grid-figure"}, element("figcaption", {}, title),
    element("div", {class: "scroll"}, element("table", {class: "cells"}, element("tbody", {}, Array.from({length: rows}, (_, r) => line(r))))));
}

// The last line: terms that add up (or otherwise come) to a value, beside the value that the network has.
function result(terms, found, value, what = "the network has") {
  return element("p", {class: "result", id: "result", "data-found": String(found), "data-value": String(value)},
    terms, " = ", element("b", {}, number(found, 7)), element("small", {}, `${what} ${number(value, 9)}`));
}

// The result of operations that may have a ReLU in them.
function rectified({block, value}, terms, sum) {
  return block.facts.relu ? result(`max(0, ${terms})`, Math.max(0, sum), value) : result(terms, sum, value);
}

// The gradient that passes an output's own ReLU, if the operation has one.
const passing = ({block, gradient, value}) => block.facts.relu && !(value > 0) ? 0 : gradient ?? 0;

// Buttons for the input channels by their share of the value; the rest in one line.
function shares(list, chosen, act, most = 14) {
  const sorted = [...list].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)), shown = sorted.slice(0, most);
  const top = Math.abs(shown[0]?.value ?? 0) || 1, rest = sorted.slice(most).reduce((sum, {value}) => sum + value, 0);
  return element("div", {class: "shares"}, shown.map(({name, value}) => element("button", {type: "button", "data-keep": `share ${name}`,
    "aria-pressed": act ? name === chosen : null, disabled: !act, onclick: act && (() => act(name))}, element("span", {}, String(name)),
  element("span", {class: "track"}, element("i", {class: value < 0 ? "negative" : "positive", style: `width:${100 * Math.abs(value) / top}%`})),
  element("em", {}, number(value, 4)))),
  sorted.length > most ? element("p", {class: "hint"}, `and ${sorted.length - most} others: ${number(rest, 4)}`) : null);
}

function windowOf({block, unit}) {
  const [kh, kw, sh, sw, top, , left, , dh, dw] = block.facts.window;
  const row = r => unit[0] * sh - top + r * dh, column = s => unit[1] * sw - left + s * dw;
  return {kh, kw, row, column, around: [row(0), row(kh - 1) + 1, column(0), column(kw - 1) + 1]};
}

// What a convolution multiplies for one output: the input channels of its group, and the products with each.
function productsOf(at) {
  const {block, channel} = at, w = windowOf(at), {groups, outputs, input} = block.facts;
  const each = input[0] / groups, first = Math.floor(channel / (outputs / groups)) * each;
  const weights = values(block.arrays.weight), start = block.place(channel) * each * w.kh * w.kw;
  const weight = (c, r, s) => weights[start + ((c - first) * w.kh + r) * w.kw + s];
  const pixel = (c, r, s) => block.x(c, w.row(r), w.column(s));
  const sums = Array.from({length: each}, (_, i) => {
    let value = 0, steep = 0;
    for (let r = 0; r < w.kh; r += 1) {
      for (let s = 0; s < w.kw; s += 1) {
        value += (pixel(first + i, r, s) ?? 0) * weight(first + i, r, s);
        steep += Math.abs(weight(first + i, r, s));
      }
    }
    return {name: first + i, value, steep};
  });
  const strongest = sums.reduce((a, b) => Math.abs(b.value) > Math.abs(a.value) ? b : a);
  const chosen = sums.some(({name}) => name === state.input) ? state.input : strongest.name;
  return {...w, weight, pixel, sums, chosen};
}

const chooseInput = name => update({input: name});

// The single window of pooling: positions with their values, and the count of an average.
function pooled(at) {
  const {block, channel, unit, node} = at, {input} = block.facts;
  if (block.kind === "plane") return cells(at, [0, block.xRows.length], [0, block.xColumns.length]);
  if (block.kind === "cells") {
    const side = axis => [Math.floor(unit[axis] * input[axis + 1] / node.shape[axis + 1]), Math.ceil((unit[axis] + 1) * input[axis + 1] / node.shape[axis + 1])];
    return cells(at, side(0), side(1));
  }
  const w = windowOf(at), [, , , , top, bottom, left, right] = block.facts.window;
  const inner = [Math.min(w.row(0) + w.kh, input[1] + bottom) - w.row(0), Math.min(w.column(0) + w.kw, input[2] + right) - w.column(0)];
  const found = {...w, get: (r, s) => block.x(channel, w.row(r), w.column(s)), whole: (r, s) => block.gx(channel, w.row(r), w.column(s))};
  return {...found, count: block.facts.count_include_pad ? inner[0] * inner[1] : countOf(found), top, left};
}

function cells({block, channel}, [top, bottom], [left, right]) {
  const found = {kh: bottom - top, kw: right - left, get: (r, s) => block.x(channel, top + r, left + s),
    whole: (r, s) => block.gx(channel, top + r, left + s), around: [top, bottom, left, right]};
  return {...found, count: found.kh * found.kw};
}

function countOf({kh, kw, get}) {
  let count = 0;
  for (let r = 0; r < kh; r += 1) for (let s = 0; s < kw; s += 1) count += get(r, s) !== undefined;
  return count;
}

function averaged(at) {
  const w = pooled(at);
  let sum = 0;
  for (let r = 0; r < w.kh; r += 1) for (let s = 0; s < w.kw; s += 1) sum += w.get(r, s) ?? 0;
  return {window: w.around, inputChannel: at.channel, parts: [grid(`window, ${w.kh}×${w.kw}`, w.kh, w.kw, w.get),
    result(`${number(sum, 6)} (sum) / ${w.count}`, sum / w.count, at.value)]};
}

function averagedBack(at) {
  const w = pooled(at), share = at.gradient / w.count;
  return {window: w.around, inputChannel: at.channel, parts: [result(`${number(at.gradient)} / ${w.count} to each pixel of the window`, share, share, "each gets"),
    grid("what each pixel gets of it", w.kh, w.kw, (r, s) => w.get(r, s) === undefined ? undefined : share), ...wholeGradient(w)]};
}

function wholeGradient(w, title = "the pixels' whole gradients, from all outputs that see them") {
  return w.whole(0, 0) === undefined && w.whole(Math.floor(w.kh / 2), Math.floor(w.kw / 2)) === undefined ? [] : [grid(title, w.kh, w.kw, w.whole)];
}

// The first largest of a window, as max pooling takes it: [row, column, value].
function largest(w) {
  let best = null;
  for (let r = 0; r < w.kh; r += 1) for (let s = 0; s < w.kw; s += 1) {
    const value = w.get(r, s);
    if (value !== undefined && (best === null || value > best[2])) best = [r, s, value];
  }
  return best;
}

function normalised({block, channel, unit}) {
  const own = (name, otherwise) => block.own(name, channel) ?? otherwise;
  const found = {x: block.x(channel, ...unit), mean: own("mean", 0), variance: own("var", 1), weight: own("weight", 1), bias: own("bias", 0),
    add: block.add(channel, ...unit)};
  found.deviation = Math.sqrt(found.variance + block.facts.eps);
  found.hat = (found.x - found.mean) / found.deviation;
  return found;
}

// The channels around one, for local response normalisation.
function neighbours({block, channel, unit}) {
  const {size, alpha, beta, k, inputs} = block.facts, found = [];
  for (let c = Math.max(0, channel - Math.floor(size / 2)); c <= Math.min(inputs - 1, channel + Math.floor((size - 1) / 2)); c += 1) {
    found.push({c, x: block.x(c, ...unit)});
  }
  const squares = found.reduce((sum, {x}) => sum + x * x, 0), s = k + alpha / size * squares;
  return {found, squares, s, x: block.x(channel, ...unit), size, alpha, beta, k};
}

const listed = (columns, rows) => element("div", {class: "scroll"}, element("table", {class: "ladder"},
  element("thead", {}, element("tr", {}, columns.map((name, i) => element("th", {class: i ? "number" : "what"}, name)))),
  element("tbody", {}, rows.map(row => element("tr", {}, row.map((cell, i) => element("td", {class: i ? "number" : "what"}, cell)))))));

const SIGNS = {Add: "+", Subtract: "−", Multiply: "·", Divide: "/"};

const FORWARD = {
  conv(at) {
    const p = productsOf(at), bias = at.block.own("bias", at.channel) ?? 0, sum = p.sums.reduce((total, {value}) => total + value, 0);
    const terms = `${number(sum, 6)} (${p.sums.length * p.kh * p.kw} products) + ${number(bias, 6)} (bias)`;
    return {window: p.around, inputChannel: p.chosen, parts: [rectified(at, terms, sum + bias), element("div", {class: "worked"},
      element("div", {}, element("h4", {}, "Sum over each input channel"), shares(p.sums, p.chosen, chooseInput)),
      element("div", {class: "grids"}, element("h4", {}, `Input channel ${p.chosen}: window × weights = products`),
        grid("window", p.kh, p.kw, (r, s) => p.pixel(p.chosen, r, s)), grid("weights", p.kh, p.kw, (r, s) => p.weight(p.chosen, r, s)),
        grid(`products, together ${number(p.sums.find(({name}) => name === p.chosen).value)}`, p.kh, p.kw,
          (r, s) => p.pixel(p.chosen, r, s) === undefined ? undefined : p.pixel(p.chosen, r, s) * p.weight(p.chosen, r, s))))]};
  },
  max(at) {
    const w = pooled(at), best = largest(w);
    return {window: w.around, inputChannel: at.channel, parts: [result(`the largest of ${countOf(w)} values`, best[2], at.value),
      grid(`window, ${w.kh}×${w.kw}`, w.kh, w.kw, w.get, (r, s) => r === best[0] && s === best[1])]};
  },
  average: averaged,
  cells: averaged,
  plane: averaged,
  batch_norm(at) {
    const n = normalised(at);
    return {parts: [listed(["what", "value"], [["x", number(n.x, 7)], ["running mean of the channel", number(n.mean, 7)],
      ["running variance", number(n.variance, 7)], [`√(variance + ${at.block.facts.eps})`, number(n.deviation, 7)],
      ["x̂ = (x − mean) / √(variance + eps)", number(n.hat, 7)], ["weight γ", number(n.weight, 7)], ["bias β", number(n.bias, 7)]]),
    rectified(at, `${number(n.weight, 6)} · ${number(n.hat, 6)} + ${number(n.bias, 6)}` + (n.add === undefined ? "" :
      ` + ${number(n.add, 6)} (the shortcut)`), n.weight * n.hat + n.bias + (n.add ?? 0))]};
  },
  lrn(at) {
    const n = neighbours(at);
    return {parts: [listed(["channel", "x", "x²"], n.found.map(({c, x}) => [c === at.channel ? `${c} (its own)` : String(c), number(x, 6), number(x * x, 6)])),
      element("p", {}, `s = k + α/n · Σ x² = ${number(n.k)} + ${number(n.alpha)}/${n.size} · ${number(n.squares, 6)} = ${number(n.s, 7)}`),
      result(`x · s^−β = ${number(n.x, 6)} · ${number(n.s, 6)}^−${number(n.beta)}`, n.x * n.s ** -n.beta, at.value)]};
  },
  linear(at) {
    const p = linearProducts(at), sum = p.reduce((total, {value}) => total + value, 0), bias = at.block.own("bias", at.channel) ?? 0;
    return {parts: [result(`${number(sum, 6)} (${p.length} products) + ${number(bias, 6)} (bias)`, sum + bias, at.value),
      element("h4", {}, "The largest products, input × weight"), shares(p, null, null, 24),
      listed(["input", "x", "weight", "product"], [...p].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 10)
        .map(({name, x, w, value}) => [String(name), number(x, 6), number(w, 6), number(value, 6)]))]};
  },
  pointwise(at) {
    const inputs = at.node.inputs.map((_, i) => at.block.input(i, at.channel, ...at.unit));
    const found = {ReLU: a => a > 0 ? a : 0, Negate: a => -a, Add: (a, b) => a + b, Subtract: (a, b) => a - b, Multiply: (a, b) => a * b,
      Divide: (a, b) => a / b}[at.node.kind](...inputs);
    const terms = at.node.kind === "ReLU" ? `max(${number(inputs[0], 6)}, 0)` : at.node.kind === "Negate" ? `−(${number(inputs[0], 6)})` :
      inputs.map(x => number(x, 6)).join(` ${SIGNS[at.node.kind]} `);
    return {parts: [result(terms, found, at.value)]};
  },
  concat(at) {
    const {input, own} = joined(at);
    return {parts: [result(`channel ${own} of input ${input + 1} (${nameOf(at.node.inputs[input])}), as it is`, at.value, at.value)]};
  },
  other(at) {
    return {parts: [element("p", {class: "hint", id: "result", "data-found": String(at.value), "data-value": String(at.value)},
      `${at.node.kind} makes it of ${at.node.inputs.filter(i => i !== null).map(nameOf).join(" and ") || "its inputs"}. Its formula and its code are under Code.`)]};
  },
};

const BACKWARD = {
  conv(at) {
    const p = productsOf(at), g = passing(at), steep = p.sums.map(({name, steep: each}) => ({name, value: each * g}));
    const chosen = state.input !== null && p.sums.some(({name}) => name === state.input) ? state.input :
      steep.reduce((a, b) => Math.abs(b.value) > Math.abs(a.value) ? b : a).name;
    const whole = {kh: p.kh, kw: p.kw, whole: (r, s) => at.block.gx(chosen, p.row(r), p.column(s))};
    return {window: p.around, inputChannel: chosen, parts: [element("p", {}, "Each pixel of the window gets gradient × its weight, each weight gets " +
      "gradient × its pixel, the bias gets ", element("b", {id: "result", "data-found": String(g), "data-value": String(g)}, number(g)), "."),
    element("div", {class: "worked"}, element("div", {}, element("h4", {}, "Input channels by Σ |gradient × weight|"), shares(steep, chosen, chooseInput)),
      element("div", {class: "grids"}, element("h4", {}, `Input channel ${chosen}`),
        grid("to the pixels: gradient × weights", p.kh, p.kw, (r, s) => p.pixel(chosen, r, s) === undefined ? undefined : g * p.weight(chosen, r, s)),
        grid("to the weights: gradient × window", p.kh, p.kw, (r, s) => g * (p.pixel(chosen, r, s) ?? 0)), wholeGradient(whole)))]};
  },
  max(at) {
    const w = pooled(at), best = largest(w), g = at.gradient ?? 0;
    return {window: w.around, inputChannel: at.channel, parts: [element("p", {id: "result", "data-found": String(g), "data-value": String(g)},
      "All of it goes to the largest, the first one if several are equal; the others get nothing."),
    grid("what each pixel gets of it", w.kh, w.kw, (r, s) => w.get(r, s) === undefined ? undefined : r === best[0] && s === best[1] ? g : 0,
      (r, s) => r === best[0] && s === best[1]), ...wholeGradient(w)]};
  },
  average: averagedBack,
  cells: averagedBack,
  plane: averagedBack,
  batch_norm(at) {
    const n = normalised(at), g = passing(at), gx = g * n.weight / n.deviation;
    return {parts: [element("p", {}, "In evaluation mean and variance are constants; in training part of it would flow through them too (see Code)."),
      listed(["goes to", "amount"], [["weight: gradient · x̂", number(g * n.hat, 6)], ["bias: gradient", number(g, 6)]]),
      result(`x: ${number(g)} · ${number(n.weight)} / ${number(n.deviation)}`, gx, at.block.gx(at.channel, ...at.unit) ?? gx)]};
  },
  lrn(at) {
    const n = neighbours(at), g = at.gradient ?? 0;
    const share = ({c, x}) => g * ((c === at.channel ? n.s ** -n.beta : 0) - 2 * n.alpha * n.beta / n.size * n.x * x * n.s ** (-n.beta - 1));
    const own = share({c: at.channel, x: n.x});
    return {parts: [element("p", {}, "Its own channel gets gradient · s^−β, and all channels in its window lose 2αβ/n · x · x′ · s^(−β−1) of it."),
      listed(["channel", "x′", "gets"], n.found.map(each => [String(each.c), number(each.x, 6), number(share(each), 6)])),
      result(`its own channel: ${number(g)} · (s^−β − …)`, own, own, "of its whole gradient " + number(at.block.gx(at.channel, ...at.unit)) + ", which has")]};
  },
  linear(at) {
    const g = at.gradient ?? 0, p = linearProducts(at).map(({name, w}) => ({name, value: g * w}));
    return {parts: [element("p", {}, "Each input gets gradient × its weight, the bias gets ", element("b", {id: "result", "data-found": String(g), "data-value": String(g)}, number(g)), "."),
      element("h4", {}, "The inputs that get most"), shares(p, null, null, 24)]};
  },
  pointwise(at) {
    const inputs = at.node.inputs.map((_, i) => at.block.input(i, at.channel, ...at.unit)), g = at.gradient ?? 0, [a, b] = inputs;
    const goes = {ReLU: [a > 0 ? g : 0], Negate: [-g], Add: [g, g], Subtract: [g, -g], Multiply: [g * b, g * a], Divide: [g / b, -g * a / b / b]}[at.node.kind];
    const why = at.node.kind === "ReLU" ? (a > 0 ? "The input is positive: the gradient passes." : "The input is not positive: the gradient stops here.") : "";
    return {parts: [element("p", {id: "result", "data-found": String(g), "data-value": String(g)}, why),
      listed(["goes to", "amount"], goes.map((amount, i) => [nameOf(at.node.inputs[i]), number(amount, 6)]))]};
  },
  concat(at) {
    const {input, own} = joined(at), g = at.gradient ?? 0;
    return {parts: [result(`all of it goes to channel ${own} of input ${input + 1} (${nameOf(at.node.inputs[input])})`, g, g)]};
  },
  other(at) {
    return FORWARD.other(at);
  },
};

function linearProducts({block, channel}) {
  const x = values(block.arrays.x), weights = values(block.arrays.weight), start = block.place(channel) * x.length;
  return Array.from(x, (value, i) => ({name: i, x: value, w: weights[start + i], value: value * weights[start + i]}));
}

// Which input of a concatenation a channel comes from, and its number there.
function joined({block, channel}) {
  let own = channel, input = 0;
  while (own >= block.facts.sizes[input]) { own -= block.facts.sizes[input]; input += 1; }
  return {input, own};
}

function nameOf(input) {
  if (input === null || input === undefined) return "a constant";
  return input === -1 ? "the image" : `${inside.nodes[input].path} ${inside.nodes[input].kind}`.trim();
}
