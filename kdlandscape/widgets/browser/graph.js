// A study at a glance: networks as nodes, what is between them as coloured edges, rings that say how far they are.

const ROLES = { star: "teacher", circle: "student", diamond: "control" };

function drawGraph(ctx, size, panel, theme) {
  const used = [...new Set(panel.nodes.map((node) => node.symbol))], star = panel.rings.length > 0;
  const sample = (symbol, fill) => (a, b, y) => drawMark(ctx, symbol, (a + b) / 2, y, 4.5, fill, theme.ink);
  const legend = used.map((symbol) => ({ name: ROLES[symbol], draw: sample(symbol, theme.paper) }));
  const top = 8 + drawLegend(ctx, 4, size.width - 8, theme, [...legend, { name: "chosen", draw: sample("circle", CHOSEN) }]);
  const box = { left: 4, top, width: size.width - 8 - (star ? 0 : 96), height: size.height - top - 6 };
  const radius = Math.max(30, Math.min(box.width / 2 - 100, box.height / 2 - 38));
  const middle = [box.left + box.width / 2, box.top + box.height / 2];
  const place = (node) => [middle[0] + radius * node.x, middle[1] - radius * node.y];
  drawRings(ctx, panel.rings, radius, middle, theme);
  const share = shareOf(panel.limits, false);
  for (const edge of panel.edges) drawEdge(ctx, panel, edge, place, theme, star ? null : share(edge.value));
  panel.spots = panel.nodes.map((node) => {
    const [px, py] = place(node);
    nameNode(ctx, node, middle, radius, theme, box);
    return { px, py, node };
  });
  for (const { px, py, node } of panel.spots)
    drawMark(ctx, node.symbol, px, py, node.symbol === "star" ? 8 : 7, node.chosen ? CHOSEN : theme.paper, theme.ink);
  if (star) return;
  const bar = { left: size.width - 92, top: top + 6, width: 12, height: Math.max(60, size.height - top - 16) };
  drawColorBar(ctx, bar, panel, theme, linesOf(ctx, theme, panel.label, bar.height));
}

const CHOSEN = "#de8f05";

function drawRings(ctx, rings, radius, middle, theme) {
  ctx.strokeStyle = ctx.fillStyle = theme.ink;
  ctx.font = `10px ${theme.font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "bottom";
  ctx.lineWidth = 1;
  for (const ring of rings) {
    ctx.globalAlpha = 0.25;
    ctx.beginPath();
    ctx.arc(...middle, radius * ring.r, 0, 7);
    ctx.stroke();
    ctx.globalAlpha = 0.8;
    ctx.fillText(ring.text, middle[0], middle[1] - radius * ring.r - 1);
  }
  ctx.globalAlpha = 1;
}

// An edge between two networks.  Its length says its value where it reaches the teacher, else its colour and number.
function drawEdge(ctx, panel, edge, place, theme, share) {
  const [a, b] = [place(panel.nodes[edge.from]), place(panel.nodes[edge.to])];
  const stroke = (color, width) => {
    ctx.strokeStyle = color;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.moveTo(...a);
    ctx.lineTo(...b);
    ctx.stroke();
  };
  ctx.setLineDash(panel.nodes[edge.to].symbol === "diamond" ? [6, 4] : []);
  stroke(theme.ink, share === null ? 2 : 5);
  ctx.setLineDash([]);
  if (share === null) return;
  const c = 3 * Math.min(255, Math.floor(256 * share));
  stroke(`rgb(${[0, 1, 2].map((k) => panel.table.getUint8(c + k))})`, 3.5);
  outlined(ctx, edge.text, 0.6 * a[0] + 0.4 * b[0], 0.6 * a[1] + 0.4 * b[1], theme);
}

// A name stands outside the rings, on the ray through its node, so that no two names meet near the teacher.
function nameNode(ctx, node, middle, radius, theme, box) {
  const away = Math.hypot(node.x, node.y);
  ctx.font = `11px ${theme.font}`;
  ctx.textBaseline = "middle";
  if (away < 1e-9) return; // the teacher, whose star the legend names
  const [u, v] = [node.x / away, -node.y / away], [px, py] = [middle[0] + (radius + 16) * u, middle[1] + (radius + 16) * v];
  ctx.strokeStyle = theme.ink;
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.4;
  ctx.setLineDash([1, 3]);
  ctx.beginPath();
  ctx.moveTo(middle[0] + (radius * away + 9) * u, middle[1] + (radius * away + 9) * v);
  ctx.lineTo(middle[0] + (radius + 6) * u, middle[1] + (radius + 6) * v);
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
  ctx.textAlign = Math.abs(u) < 0.25 ? "center" : u > 0 ? "left" : "right";
  const room = ctx.textAlign === "center" ? 140 : ctx.textAlign === "left" ? box.left + box.width - px : px - box.left;
  const lines = node.value ? [node.name, node.value] : [node.name], shift = 7 * (lines.length - 1);
  const y = py + (Math.abs(u) < 0.25 ? (v > 0 ? 6 + shift : -6 - shift) : 0);
  lines.forEach((text, i) => outlined(ctx, shortened(ctx, text, room), px, y - shift + 14 * i, theme));
}

function outlined(ctx, text, x, y, theme) {
  ctx.font = `11px ${theme.font}`;
  ctx.lineJoin = "round";
  ctx.strokeStyle = theme.paper;
  ctx.lineWidth = 3;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = theme.ink;
  ctx.fillText(text, x, y);
}

function nodeAt(panel, px, py) {
  const near = (panel.spots || []).filter((spot) => Math.hypot(spot.px - px, spot.py - py) < 16);
  return near.length ? near[0].node : null;
}

function chosenNode(panel, node) {
  const moves = node.place < 0 ? [] : [[{ name: panel.dim }, node.at]];
  return { kind: "network", name: node.name, dim: panel.dim, x: node.place < 0 ? null : node.at, moves };
}

// The next node, clockwise from the one of the present cell.
function nextNode(panel, step) {
  const here = panel.nodes.findIndex((node) => node.here), count = panel.nodes.length;
  return chosenNode(panel, panel.nodes[(Math.max(here, 0) + step + count) % count]);
}
