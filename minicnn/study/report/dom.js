// Making elements, decoding numbers, colouring pictures: what the parts of the page share.

const inside = JSON.parse(document.getElementById("inside-data").textContent);
const SVG = "http://www.w3.org/2000/svg";

// The node, its channel and unit that are looked at, and how. `module` is the path of a part that holds several nodes.
const state = {node: 0, module: null, channel: 0, unit: [0, 0], input: null, tab: "maps", alone: true, zoom: 72, sorted: false,
  backward: false, answer: 0};
const watchers = [];

function update(change) {
  Object.assign(state, change);
  for (const watch of watchers) watch(change);
}

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") && typeof value === "boolean") made.setAttribute(name, String(value));
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return made;
}

// Enter and Space do what a click does, for what is no button.
function pressable(act) {
  return {
    onclick: act,
    onkeydown: event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); act(event); }
    },
  };
}

function values(packed) {
  if (!packed) return null;
  if (!packed.values) {
    const text = atob(packed.data), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    packed.values = packed.type === "f8" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
    packed.data = null;
  }
  return packed.values;
}

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(Math.max(0, digits - 2)) : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, "−");
}

function count(value) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (value >= 0.9995 * size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  }
  return String(value);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds >= 1) return `${Number(seconds.toPrecision(3))} s`;
  return seconds >= 1e-3 ? `${Number((seconds * 1e3).toPrecision(3))} ms` : `${Math.round(seconds * 1e6)} µs`;
}

const sides = shape => shape.join("×");

function ramp(stops) {
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i += 1) {
    const place = i / 255 * (stops.length - 1), left = Math.min(stops.length - 2, Math.floor(place));
    for (let c = 0; c < 3; c += 1) {
      const [from, to] = [left, left + 1].map(stop => parseInt(stops[stop].slice(1 + 2 * c, 3 + 2 * c), 16));
      table[3 * i + c] = Math.round(from + (to - from) * (place - left));
    }
  }
  return table;
}

const HEAT = ramp(["#0a0a14", "#32206e", "#8a2a7c", "#d9485f", "#f79a5b", "#fdf3b8"]);      // 0 to the largest
const POLES = ramp(["#0b3c66", "#2f83bf", "#f4f3ef", "#dd7a34", "#7a3004"]);                // negative, 0, positive

const loaded = new Map();
function load(uri) {
  if (!loaded.has(uri)) {
    const image = new Image();
    image.src = uri;
    loaded.set(uri, image.decode().then(() => image));
  }
  return loaded.get(uri);
}

// The pixels of a grey picture, one byte each: {width, height, pixels}.
const greys = new Map();
function grey(uri) {
  if (!greys.has(uri)) {
    greys.set(uri, load(uri).then(image => {
      const canvas = element("canvas", {width: image.naturalWidth, height: image.naturalHeight});
      const context = canvas.getContext("2d", {willReadFrequently: true});
      context.drawImage(image, 0, 0);
      const {data} = context.getImageData(0, 0, canvas.width, canvas.height), pixels = new Uint8Array(data.length / 4);
      for (let i = 0; i < pixels.length; i += 1) pixels[i] = data[4 * i];
      return {width: canvas.width, height: canvas.height, pixels};
    }));
  }
  return greys.get(uri);
}

function colourAt(table, data, place, level) {
  const shade = Math.max(0, Math.min(255, Math.round(level)));
  data[place] = table[3 * shade];
  data[place + 1] = table[3 * shade + 1];
  data[place + 2] = table[3 * shade + 2];
  data[place + 3] = 255;
}

// The colour of a value on a scale from -top to top, for the background of a cell; [css colour, is it dark].
function shade(value, top) {
  const level = Math.round(127.5 + 127.5 * Math.max(-1, Math.min(1, top ? value / top : 0)));
  const [r, g, b] = POLES.slice(3 * level, 3 * level + 3);
  return [`rgb(${r} ${g} ${b})`, 0.3 * r + 0.59 * g + 0.11 * b < 140];
}

// One map of a node as an image of its own size in pixels, coloured: each over its own range, or all over the layer's.
async function mapImage(node, channel, alone) {
  const maps = node.maps, picture = await grey(maps.uri);
  const [low, high] = [values(maps.low), values(maps.high)], range = node.range ??= layerRange(low, high);
  const image = new ImageData(maps.width, maps.height);
  const left = channel % maps.columns * maps.width, top = Math.floor(channel / maps.columns) * maps.height;
  const [from, to] = alone ? [low[channel], high[channel]] : range, signed = range[0] < 0;
  const largest = Math.max(Math.abs(from), Math.abs(to)) || 1, step = (high[channel] - low[channel]) / 255;
  for (let y = 0; y < maps.height; y += 1) {
    for (let x = 0; x < maps.width; x += 1) {
      const value = low[channel] + picture.pixels[(top + y) * picture.width + left + x] * step;
      const level = signed ? 127.5 + 127.5 * value / largest : 255 * (value - Math.min(0, from)) / ((to - Math.min(0, from)) || 1);
      colourAt(signed ? POLES : HEAT, image.data, 4 * (y * maps.width + x), level);
    }
  }
  return image;
}

function layerRange(low, high) {
  let least = Infinity, most = -Infinity;
  for (const value of low) least = Math.min(least, value);
  for (const value of high) most = Math.max(most, value);
  return [least, most];
}

// A canvas that holds an image, and its context.
function canvasOf(image) {
  const canvas = element("canvas", {width: image.width, height: image.height});
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
