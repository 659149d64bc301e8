// The image and what the answer rests on.

function showImage() {
  const app = document.getElementById("image-app");
  const list = element("div", {class: "answers", role: "radiogroup", "aria-label": "class"});
  const figures = element("div", {class: "evidence"});
  const over = element("input", {type: "checkbox", id: "over", checked: true, onchange: () => draw()});
  const original = element("img", {src: inside.picture, alt: inside.label ? `the image, ${inside.label}` : "the image"});
  app.append(element("div", {class: "seen"},
    element("figure", {class: "original"}, original,
      element("figcaption", {}, `${inside.height}×${inside.width} pixels`, inside.label ? `, is ${inside.label}` : "")),
    element("div", {class: "answer-side"}, list,
      element("label", {class: "check"}, over, " lay saliency and Grad-CAM over the image"))), figures);

  inside.classes.forEach((answer, i) => list.append(element("button", {type: "button", role: "radio", class: "answer",
    "data-answer": i, onclick: () => update({answer: i}), onkeydown: event => step(event, i)},
  element("b", {}, answer.name), element("span", {class: "chance"}, element("i", {style: `width:${100 * answer.probability}%`})),
  element("em", {}, `${number(100 * answer.probability, 3)} %`))));

  function step(event, i) {
    const way = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
    if (!way) return;
    event.preventDefault();
    const next = (i + way + inside.classes.length) % inside.classes.length;
    update({answer: next});
    list.children[next].focus();
  }

  async function draw() {
    [...list.children].forEach((button, i) => {
      button.setAttribute("aria-checked", i === state.answer);
      button.tabIndex = i === state.answer ? 0 : -1;
    });
    const chosen = state.answer, answer = inside.classes[chosen];
    const parts = [["saliency", "Saliency", answer.saliency], ["cam", "Grad-CAM", answer.cam],
      ["guided", "Guided backpropagation", answer.guided]].filter(part => part[2]);
    const drawn = await Promise.all(parts.map(([key, , uri]) => key === "guided" ? load(uri) : heat(key, uri, over.checked)));
    if (chosen !== state.answer) return;
    figures.replaceChildren(...parts.map(([key, title], i) => {
      const canvas = element("canvas", {width: inside.width, height: inside.height, role: "img", "data-evidence": key,
        "aria-label": `${title} of ${answer.name}`});
      canvas.getContext("2d").drawImage(drawn[i], 0, 0, inside.width, inside.height);
      return element("figure", {}, canvas, element("figcaption", {}, title));
    }));
  }

  // A grey picture in the colours of heat, on its own or over the image: strong where it is hot.
  async function heat(key, uri, laid) {
    const [{width, height, pixels}, picture] = [await grey(uri), await load(inside.picture)];
    const image = new ImageData(width, height);
    for (let i = 0; i < pixels.length; i += 1) {
      colourAt(HEAT, image.data, 4 * i, pixels[i]);
      if (laid) image.data[4 * i + 3] = key === "cam" ? 40 + 0.7 * pixels[i] : Math.min(255, 90 + pixels[i]);
    }
    const canvas = element("canvas", {width: inside.width, height: inside.height}), context = canvas.getContext("2d");
    if (laid) context.drawImage(picture, 0, 0, inside.width, inside.height);
    context.imageSmoothingEnabled = key === "cam";
    context.drawImage(canvasOf(image), 0, 0, inside.width, inside.height);
    return canvas;
  }

  watchers.push(change => { if ("answer" in change) draw(); });
  draw();
}
