// Where the page starts.

if (inside) {
  const first = inside.nodes.findIndex(node => node.block && node.block.kind === "conv");
  select(Math.max(0, first));
  showImage();
  showInside();
  showFlow();
}
