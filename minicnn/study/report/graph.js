// The network as a graph that opens level by level: a tree of parts, laid out in layers (Sugiyama, Tagawa and Toda 1981).

const NODE = {width: 236, height: 64, gap: 14, rise: 22, inset: 12, head: 46};
const COLOURS = {conv: "conv", linear: "conv", max: "pool", average: "pool", cells: "pool", plane: "pool", batch_norm: "norm",
  lrn: "norm"};

// The tree of parts: {id, name, path, kind, first, last, nodes: [numbers], parts: [children]}; a leaf is one node.
function treeOf() {
  const root = part("", inside.name, "");
  inside.nodes.forEach((node, i) => {
    let at = root;
    at.nodes.push(i);
    for (const name of node.path ? node.path.split(".") : []) {
      const path = at.path ? `${at.path}.${name}` : name;
      let next = at.parts.find(child => child.path === path && child.number === undefined);
      if (!next) at.parts.push(next = part(path, name, path));
      next.nodes.push(i);
      at = next;
    }
    at.parts.push({...part(`#${i}`, node.kind, node.path), number: i, nodes: [i]});
  });
  simplify(root);
  return root;

  function part(id, name, path) {
    return {id, name, path, kind: inside.modules[path]?.kind ?? "", nodes: [], parts: []};
  }

  // A module around a single operation is that operation under the module's name.
  function simplify(at) {
    at.parts = at.parts.map(child => {
      if (child.number !== undefined) return {...child, kind: ""};
      simplify(child);
      const only = child.parts.length === 1 ? child.parts[0] : null;
      return only && only.number !== undefined ? {...only, name: child.name, kind: inside.nodes[only.number].kind} : child;
    });
  }
}

const totals = {forward: 0, backward: 0};
for (const node of inside ? inside.nodes : []) {
  totals.forward += node.forward ?? 0;
  totals.backward += node.backward ?? 0;
}

// What is known of a part: its figures added up, output and field of its last node.
function figuresOf(numbers) {
  const sum = name => numbers.reduce((total, i) => total + (inside.nodes[i][name] ?? 0), 0);
  const last = inside.nodes[numbers[numbers.length - 1]];
  const timed = numbers.some(i => inside.nodes[i].forward !== null);
  const [forward, backward] = timed ? [sum("forward"), sum("backward")] : [null, null];
  return {shape: sides(last.shape), parameters: sum("parameters"), macs: sum("macs"), sees: last.sees, forward, backward,
    share: timed ? (forward + backward) / ((totals.forward + totals.backward) || 1) : null};
}

// Sizes and places of everything in an open part, its children first.
function layOut(part, open) {
  const items = part.parts.map((child, i) => {
    const opened = child.number === undefined && open.has(child.id);
    const inner = opened ? layOut(child, open) : null;
    return {part: child, inner, order: i, width: inner ? inner.width : NODE.width, height: inner ? inner.height : NODE.height,
      enter: inner ? inner.enter : NODE.width / 2, leave: inner ? inner.leave : NODE.width / 2, up: [], down: []};
  });
  const source = port(-1), sink = port(items.length);
  const home = new Map();
  for (const item of items) for (const i of item.part.nodes) home.set(i, item);
  join(part, home, items, source, sink);
  rank(items, source, sink);
  const rows = rowsOf([source, ...items, sink]);
  arrange(rows);
  return place(part, rows, items, source, sink);

  function port(order) {
    return {order, width: 12, height: 0, enter: 6, leave: 6, up: [], down: [], port: true};
  }
}

// Edges between the children of a part; what comes from or goes to the outside passes its ports.
function join(part, home, items, source, sink) {
  const used = new Set(), link = (from, to) => {
    if (from === to || from.down.includes(to)) return;
    if (from.order < to.order) { from.down.push(to); to.up.push(from); }
  };
  for (const i of part.nodes) {
    for (const input of inside.nodes[i].inputs) {
      if (input === null) continue;
      link(home.get(input) ?? source, home.get(i));
      used.add(input);
    }
  }
  const inner = new Set(part.nodes);
  inside.nodes.forEach((node, i) => {
    if (inner.has(i)) return;
    for (const input of node.inputs) if (inner.has(input)) link(home.get(input), sink);
  });
  for (const item of items) {
    if (!item.up.length) link(source, item);
    if (!item.down.length) link(item, sink);
  }
}

function rank(items, source, sink) {
  source.rank = 0;
  for (const item of items) item.rank = 1 + Math.max(...item.up.map(from => from.rank));
  sink.rank = 1 + Math.max(0, ...items.map(item => item.rank));
}

// Rows of items; an edge over several rows runs through narrow steps, which the edges of one source share.
function rowsOf(items) {
  const rows = Array.from({length: items[items.length - 1].rank + 1}, () => []);
  for (const item of items) rows[item.rank].push(item);
  for (const item of items) {
    item.next = [];
    let before = item, longest = Math.max(...item.down.map(to => to.rank), item.rank + 1);
    const byRank = new Map();
    for (const to of item.down) byRank.set(to.rank, [...(byRank.get(to.rank) ?? []), to]);
    for (let r = item.rank + 1; r <= longest; r += 1) {
      for (const to of byRank.get(r) ?? []) before.next.push(to);
      if (r < longest) {
        const step = {step: true, width: 8, height: 0, enter: 4, leave: 4, order: item.order - 0.5, next: [], rank: r};
        rows[r].push(step);
        before.next.push(step);
        before = step;
      }
    }
  }
  for (const row of rows) for (const item of row) item.before = [];
  for (const row of rows) for (const item of row) for (const to of item.next) to.before.push(item);
  return rows;
}

// Order within the rows by the middle of the neighbours, then places as near to them as the widths allow.
function arrange(rows) {
  for (const row of rows) {
    row.sort((a, b) => a.order - b.order);
    row.forEach((item, i) => { item.place = i; });
  }
  for (let sweep = 0; sweep < 4; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const row of down ? rows : [...rows].reverse()) {
      for (const item of row) {
        const near = down ? item.before : item.next;
        item.key = near.length ? near.reduce((sum, other) => sum + other.place, 0) / near.length : item.place;
      }
      row.sort((a, b) => a.key - b.key || a.order - b.order);
      row.forEach((item, i) => { item.place = i; });
    }
  }
  for (const row of rows) spreadOut(row.map(item => ({item, wish: 0})));
  for (let sweep = 0; sweep < 10; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const row of down ? rows : [...rows].reverse()) {
      spreadOut(row.map(item => {
        const near = (down ? item.before : item.next).map(other => ({other, weight: item.step || other.step ? 1 : 4}));
        const weight = near.reduce((sum, {weight}) => sum + weight, 0);
        return {item, wish: weight ? near.reduce((sum, {other, weight}) => sum + weight * other.x, 0) / weight : item.x};
      }));
    }
  }
}

// x of each item, its port's place: the nearest to the wishes that leave the gaps (pool adjacent violators).
function spreadOut(row) {
  let offset = 0;
  const pools = [];
  row.forEach(({item, wish}, i) => {
    if (i) offset += row[i - 1].item.width - row[i - 1].item.enter + NODE.gap + item.enter;
    item.offset = offset;
    const weight = item.step ? 1 : 4;
    pools.push({sum: weight * (wish - offset), weight, items: [item]});
    while (pools.length > 1) {
      const [a, b] = pools.slice(-2);
      if (a.sum / a.weight <= b.sum / b.weight) break;
      pools.splice(-2, 2, {sum: a.sum + b.sum, weight: a.weight + b.weight, items: [...a.items, ...b.items]});
    }
  });
  for (const pool of pools) for (const item of pool.items) item.x = pool.sum / pool.weight + item.offset;
}

function place(part, rows, items, source, sink) {
  let left = Infinity, right = -Infinity;
  for (const row of rows) {
    for (const item of row) {
      left = Math.min(left, item.x - item.enter);
      right = Math.max(right, item.x - item.enter + item.width);
    }
  }
  const wide = Math.max(right - left, NODE.width), shift = NODE.inset - left + (wide - (right - left)) / 2;
  let y = NODE.head;
  for (const row of rows) {
    const tall = Math.max(...row.map(item => item.height));
    for (const item of row) { item.left = item.x - item.enter + shift; item.top = y; item.rowHeight = tall; }
    y += tall + NODE.rise;
  }
  return {part, items, rows, width: wide + 2 * NODE.inset, height: y - NODE.rise + NODE.inset, enter: source.left + 6,
    leave: sink.left + 6};
}

// The graph in its pane; part numbers and paths that are open are kept in `open`.
function graph(pane) {
  const root = treeOf(), open = new Set([root.id]);
  const all = [];
  (function walk(part, level) {
    if (part.number === undefined) { all.push({part, level}); part.parts.forEach(child => walk(child, level + 1)); }
  })(root, 0);
  const most = 500;       // boxes that a browser still draws at once
  const openTo = level => {
    open.clear();
    let boxes = 0;
    for (const each of [...all].sort((a, b) => a.level - b.level)) {
      if (each.level < level && boxes + each.part.parts.length <= most) { open.add(each.part.id); boxes += each.part.parts.length; }
    }
    open.add(root.id);
    draw();
  };

  function draw(kept) {
    const before = kept && pane.querySelector(`[data-part="${CSS.escape(kept)}"]`)?.getBoundingClientRect().top;
    const drawn = layOut(root, open);
    const picture = drawing("svg", {width: drawn.width, height: drawn.height, viewBox: `0 0 ${drawn.width} ${drawn.height}`,
      role: "group", "aria-label": `the graph of ${inside.name}`});
    box(picture, drawn, 0, 0, 0);
    pane.replaceChildren(picture);
    const again = kept && pane.querySelector(`[data-part="${CSS.escape(kept)}"]`);
    if (again) {
      pane.scrollTop += again.getBoundingClientRect().top - before;
      again.focus({preventScroll: true});
    }
    mark();
    centre(pane.querySelector(".node.chosen"));
  }

  function box(into, drawn, x, y, level) {
    const {part} = drawn, figures = figuresOf(part.nodes);
    const name = level ? part.name : inside.name;
    into.append(drawing("rect", {class: "part", x, y, width: drawn.width, height: drawn.height, rx: 9}));
    const head = drawing("g", {class: "node opened", role: "button", "aria-expanded": "true", "data-part": part.id, tabindex: 0,
      "aria-label": label(name, part.kind, figures), ...pressable(() => toggle(part, level))},
    drawing("rect", {class: "hit", x: x + 1, y: y + 1, width: drawn.width - 2, height: NODE.head - 14, rx: 8}),
    drawing("text", {class: "name", x: x + 26, y: y + 19}, name, drawing("tspan", {class: "kind", dx: 6}, part.kind)),
    level ? drawing("path", {class: "turn", d: `M${x + 9} ${y + 11} h10 l-5 7 z`}) : null,
    drawing("text", {class: "small", x: x + drawn.width - 9, y: y + 19, "text-anchor": "end"},
      figures.share === null || !level ? "" : `${number(100 * figures.share, 2)} %`));
    for (const row of drawn.rows) for (const item of row) for (const to of item.next) into.append(edge(item, to, x, y));
    into.append(head);
    for (const item of drawn.items) {
      if (item.inner) box(into, item.inner, x + item.left, y + item.top, level + 1);
      else into.append(leaf(item, x + item.left, y + item.top, level));
    }
  }

  function edge(item, to, x, y) {
    const x1 = x + item.left + item.leave, y1 = y + item.top + (item.step ? 0 : item.height), x2 = x + to.left + to.enter;
    const y2 = y + to.top, from = item.step ? y1 + item.rowHeight : y1, bend = item.step || item.height === item.rowHeight ? from :
      y + item.top + item.rowHeight, half = (bend + y2) / 2;
    return drawing("path", {class: "edge", d: `M${x1} ${y1} V${bend} C${x1} ${half} ${x2} ${half} ${x2} ${y2}`});
  }

  function leaf(item, x, y, level) {
    const {part} = item, figures = figuresOf(part.nodes), opens = part.number === undefined;
    const kind = opens ? "" : COLOURS[inside.nodes[part.number].block?.kind] ?? "";
    const bar = NODE.width - 20, total = (totals.forward + totals.backward) || 1;
    const [forward, backward] = [figures.forward ?? 0, figures.backward ?? 0].map(seconds => bar * seconds / total);
    const times = figures.forward === null ? "" : `${duration(figures.forward)} ↓ ${duration(figures.backward)} ↑`;
    return drawing("g", {class: `node ${kind}`, role: "button", "aria-expanded": opens ? "false" : null, tabindex: 0,
      "data-part": part.id, "aria-label": label(part.name, part.kind, figures),
      ...pressable(() => opens ? toggle(part, level + 1) : choose(part))},
    drawing("rect", {class: "box", x, y, width: NODE.width, height: NODE.height, rx: 7}),
    drawing("rect", {class: "stripe", x, y: y + 7, width: 4, height: NODE.height - 14}),
    drawing("text", {class: "name", x: x + 12, y: y + 17}, cut(part.name, 20),
      drawing("tspan", {class: "kind", dx: 6}, cut(part.kind, 26 - Math.min(20, part.name.length)))),
    opens ? drawing("text", {class: "plus", x: x + NODE.width - 9, y: y + 18, "text-anchor": "end"}, "+") : null,
    drawing("text", {class: "small", x: x + 12, y: y + 33}, [figures.shape,
      figures.parameters ? `${count(figures.parameters)} param.` : "", figures.sees ? `sees ${figures.sees}` : ""]
      .filter(Boolean).join(" · ")),
    drawing("text", {class: "small", x: x + 12, y: y + 48}, [figures.macs ? `${count(figures.macs)} MACs` : "", times]
      .filter(Boolean).join(" · ")),
    figures.share === null ? null : drawing("text", {class: "small", x: x + NODE.width - 24, y: y + 17, "text-anchor": "end"},
      `${number(100 * figures.share, 2)} %`),
    drawing("rect", {class: "track", x: x + 10, y: y + 55, width: bar, height: 3}),
    drawing("rect", {class: "forward", x: x + 10, y: y + 55, width: forward, height: 3}),
    drawing("rect", {class: "backward", x: x + 10 + forward, y: y + 55, width: backward, height: 3}));
  }

  const cut = (text, most) => text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text;

  function label(name, kind, figures) {
    return `${name} ${kind}, output ${figures.shape}, ${figures.parameters} parameters, ${count(figures.macs)} MACs`;
  }

  function choose(part) {
    if (part.number !== undefined) select(part.number);
    else select(part.nodes[part.nodes.length - 1], part.path);
  }

  function toggle(part, level) {
    if (level && open.has(part.id)) open.delete(part.id);
    else open.add(part.id);
    choose(part);
    draw(part.id);
  }

  function mark() {
    const wanted = state.module !== null ? state.module : `#${state.node}`;
    for (const node of pane.querySelectorAll(".node")) node.classList.toggle("chosen", node.dataset.part === wanted);
  }

  // Open what a node is in, so that it can be seen.
  function reveal() {
    const wanted = state.module !== null ? state.module : `#${state.node}`;
    const find = part => part.id === wanted ? [] : part.parts.map(child => ({child, way: find(child)}))
      .filter(({way}) => way).map(({way}) => [part.id, ...way])[0];
    for (const id of find(root) ?? []) open.add(id);
    draw();
    const found = pane.querySelector(".node.chosen");
    if (found) pane.scrollTop += found.getBoundingClientRect().top - pane.getBoundingClientRect().top - pane.clientHeight / 3;
  }

  function centre(found) {
    if (!found) return;
    const [box, space] = [found.getBoundingClientRect(), pane.getBoundingClientRect()];
    pane.scrollLeft += box.left + box.width / 2 - space.left - space.width / 2;
  }

  watchers.push(change => {
    if (change.reveal) reveal();
    else if ("node" in change) mark();
  });
  let boxes = root.parts.length;
  for (let level = 2; boxes < 5 && level < 4; level += 1) {
    for (const each of all) if (each.level < level) open.add(each.part.id);
    boxes = all.filter(each => each.level < level).reduce((sum, each) => sum + each.part.parts.length, 0);
  }
  draw();
  return openTo;
}
