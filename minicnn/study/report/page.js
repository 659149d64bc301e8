"use strict";
// The buttons above the tree open it down to a level: 1 shows the stages, 2 their blocks, 99 everything.
for (const button of document.querySelectorAll("[data-depth]")) {
  button.addEventListener("click", () => {
    const depth = Number(button.dataset.depth);
    for (const details of document.querySelectorAll("#tree details")) {
      let level = 0;
      for (let up = details.parentElement.closest("details"); up; up = up.parentElement.closest("details")) level += 1;
      details.open = level < depth;
    }
  });
}
