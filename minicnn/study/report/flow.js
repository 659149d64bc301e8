// Over the depth: how large the gradient still is, and which share of the channels is silent.

function showFlow() {
  const app = document.getElementById("flow-app"), plots = [];
  const weighed = inside.nodes.flatMap((node, i) => node.statistics.weightGradient !== null && node.weights.some(w => w.shape.length > 1) ? [i] : []);
  const norms = weighed.filter(i => inside.nodes[i].statistics.gradient > 0);
  if (norms.length) {
    plots.push(plot("Norm of the gradient, on a logarithmic scale", "log", [
      ["one", "with respect to the output", norms.map(i => [i, inside.nodes[i].statistics.gradient])],
      ["two", "with respect to the weights", weighed.filter(i => inside.nodes[i].statistics.weightGradient > 0)
        .map(i => [i, inside.nodes[i].statistics.weightGradient])]]));
  }
  const rectified = inside.nodes.flatMap((node, i) => node.silent && node.shape.length === 3 && node.statistics.zeros > 0 ? [i] : []);
  if (rectified.length) {
    plots.push(plot("Silence, in percent", "percent", [
      ["two", "silent channels", rectified.map(i => [i, 100 * inside.nodes[i].silent.length / inside.nodes[i].shape[0]])],
      ["one", "zeros for this image", rectified.map(i => [i, 100 * inside.nodes[i].statistics.zeros])]]));
  }
  app.append(element("div", {class: "charts"}, plots));
}

// Lines over the nodes' numbers; each point leads to its layer.
function plot(title, scale, lines) {
  const width = 520, height = 260, left = 48, bottom = 30, top = 14, most = inside.nodes.length - 1 || 1;
  const all = lines.flatMap(([, , points]) => points.map(([, y]) => y));
  const low = scale === "log" ? Math.floor(Math.log10(Math.min(...all))) : 0;
  const high = scale === "log" ? Math.max(low + 1, Math.ceil(Math.log10(Math.max(...all)))) : 100;
  const x = i => left + i / most * (width - left - 14);
  const y = value => height - bottom - ((scale === "log" ? Math.log10(value) : value) - low) / (high - low) * (height - bottom - top);
  const step = scale === "log" ? Math.max(1, Math.ceil((high - low) / 6)) : 20, marks = [];
  for (let tick = low; tick <= high; tick += step) marks.push(tick);
  const picture = drawing("svg", {viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title},
    marks.flatMap(tick => {
      const at = y(scale === "log" ? 10 ** tick : tick);
      return [drawing("line", {class: "grid", x1: left, x2: width - 14, y1: at, y2: at}),
        drawing("text", {x: left - 7, y: at + 4, "text-anchor": "end"}, scale === "log" ? `1e${tick}`.replace("-", "−") : String(tick))];
    }),
    drawing("text", {x: left, y: height - 8}, "image"), drawing("text", {x: width - 14, y: height - 8, "text-anchor": "end"}, "answer"),
    lines.flatMap(([css, name, points]) => [drawing("polyline", {class: `line ${css}`, points: points.map(([i, value]) => `${x(i)},${y(value)}`).join(" ")}),
      points.map(([i, value]) => drawing("circle", {class: `dot ${css} press`, cx: x(i), cy: y(value), r: points.length > 80 ? 2.5 : 4.2, tabindex: 0,
        role: "button", "data-node": i, "aria-label": `${inside.nodes[i].path} ${name} ${number(value)}`, ...pressable(() => {
          select(i, null, {reveal: true, tab: "spread"});
          document.getElementById("inside").scrollIntoView();
        })}, drawing("title", {}, `${inside.nodes[i].path || inside.nodes[i].kind}: ${number(value)}`)))]));
  return element("figure", {}, element("h3", {}, title), element("p", {class: "legend"}, lines.map(([css, name]) => element("span", {class: css}, name))), picture);
}
