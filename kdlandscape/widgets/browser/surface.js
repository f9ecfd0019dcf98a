// The surface from the side: a height field of coloured quadrilaterals, drawn from back to front over its contours.

const TALL = 1.15; // the height of the box, where its floor is two wide

function drawSurface(ctx, size, panel, theme, view) {
  const step = Math.ceil(Math.max(panel.x.places.length, panel.y.places.length) / 64);
  const nx = panel.x.places.length;
  const ix = everyOf(nx, step), iy = everyOf(panel.y.places.length, step);
  const share = shareOf(panel.limits, panel.log);
  const cx = scaleOf(rangeOf(panel.x), false, -1, 1), cy = scaleOf(rangeOf(panel.y), false, -1, 1);
  const [ca, sa] = [Math.cos(view.turn), Math.sin(view.turn)], [ct, st] = [Math.cos(view.tilt), Math.sin(view.tilt)];
  const unit = view.zoom * Math.min(size.width / 3.5, size.height / 3.0);
  const middle = [size.width / 2 + 12, size.height / 2 + 4];
  const project = (x, y, h) => {
    const u = ca * x - sa * y, v = sa * x + ca * y;
    return [middle[0] + unit * u, middle[1] - unit * (v * st + (h - 0.5) * TALL * ct)];
  };
  const frame = { project, theme, panel, cx, cy, front: ca > 0 ? -1 : 1, side: sa > 0 ? -1 : 1, share };
  drawFloor(ctx, frame);
  const at = (i, j) => panel.floats[iy[j] * nx + ix[i]];
  const columns = orderOf(ix.length - 1, sa > 0), rows = orderOf(iy.length - 1, ca > 0);
  drawQuads(ctx, { ix, iy, at, share, project, cx, cy, panel, columns, rows });
  drawHeight(ctx, frame);
  for (const mark of panel.marks) drawPin(ctx, frame, mark);
}

function everyOf(count, step) {
  const out = [];
  for (let i = 0; i < count; i += step) out.push(i);
  if (out[out.length - 1] !== count - 1) out.push(count - 1);
  return out;
}

function orderOf(count, backwards) {
  return Array.from({ length: count }, (_, i) => (backwards ? count - 1 - i : i));
}

// The floor with the contours of the surface, and ticks along its two front edges.
function drawFloor(ctx, { project, theme, panel, cx, cy, front, side }) {
  ctx.strokeStyle = theme.ink;
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.5;
  ctx.beginPath();
  for (const [x, y] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) ctx.lineTo(...project(x, y, 0));
  ctx.closePath();
  ctx.stroke();
  strokeSegments(ctx, segmentsOf(panel), (x, y) => project(cx(x), cy(y), 0), theme.ink, 0.3);
  ctx.fillStyle = theme.ink;
  ctx.font = `10px ${theme.font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  for (const v of tickPlaces(panel.x, rangeOf(panel.x), 4)) ctx.fillText(tickText(panel.x, v), ...project(cx(v), 1.13 * front, 0));
  for (const v of tickPlaces(panel.y, rangeOf(panel.y), 4)) ctx.fillText(tickText(panel.y, v), ...project(1.13 * side, cy(v), 0));
  ctx.font = `11px ${theme.font}`;
  // A label that is longer than its edge would cross the other one; the plane beside it has it whole.
  const words = (axis) => (ctx.measureText(axis.name).width < 110 ? axis.name : shortened(ctx, axis.short, 110));
  ctx.fillText(words(panel.x), ...project(0, 1.36 * front, 0));
  ctx.fillText(words(panel.y), ...project(1.36 * side, 0, 0));
}

// The vertical axis at the corner that stands furthest to the left.
function drawHeight(ctx, { project, theme, panel, share }) {
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
  const [x, y] = corners.reduce((best, one) => (project(...one, 0)[0] < project(...best, 0)[0] ? one : best));
  ctx.strokeStyle = ctx.fillStyle = theme.ink;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(...project(x, y, 0));
  ctx.lineTo(...project(x, y, 1));
  ctx.font = `10px ${theme.font}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const v of ticksOf(panel.limits, panel.log, 4)) {
    const [px, py] = project(x, y, share(v));
    ctx.moveTo(px, py);
    ctx.lineTo(px - 4, py);
    ctx.fillText(textOf(v), px - 6, py);
  }
  ctx.stroke();
  const [px, py] = project(x, y, 0.5);
  ctx.font = `11px ${theme.font}`;
  sideways(ctx, shortened(ctx, panel.label, 170), Math.max(8, px - 46), py);
}

function drawPin(ctx, { project, panel, cx, cy, share }, mark) {
  const h = heightAt(panel, share, mark), [x, y] = [cx(mark.x), cy(mark.y)];
  if (h === null || Math.abs(x) > 1 || Math.abs(y) > 1) return;
  const foot = project(x, y, h), head = project(x, y, h + 0.16);
  for (const [color, width] of [["black", 3], ["white", 1.4]]) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.moveTo(...foot);
    ctx.lineTo(...head);
    ctx.stroke();
  }
  drawMark(ctx, mark.symbol, ...head, 5, "white", "black");
}

function drawQuads(ctx, { ix, iy, at, share, project, cx, cy, panel, columns, rows }) {
  const points = iy.map((yi, j) => ix.map((xi, i) => {
    const v = at(i, j);
    if (!Number.isFinite(v)) return null;
    const h = share(v);
    return [...project(cx(panel.x.places[xi]), cy(panel.y.places[yi]), h), h];
  }));
  for (const j of rows)
    for (const i of columns) {
      const q = [points[j][i], points[j][i + 1], points[j + 1][i + 1], points[j + 1][i]];
      if (q.includes(null)) continue;
      const h = (q[0][2] + q[1][2] + q[2][2] + q[3][2]) / 4;
      // A light from the left makes slopes visible that colours alone hide.
      const slope = q[1][2] + q[2][2] - q[0][2] - q[3][2];
      const light = Math.max(0.65, Math.min(1.25, 1 - 4 * slope));
      const c = 3 * Math.min(255, Math.floor(256 * h));
      const rgb = [0, 1, 2].map((k) => Math.min(255, light * panel.table.getUint8(c + k)));
      ctx.fillStyle = `rgb(${rgb})`;
      // A little outwards closes the seams between neighbours for half the price of a stroke.
      const mx = (q[0][0] + q[2][0]) / 2, my = (q[0][1] + q[2][1]) / 2;
      ctx.beginPath();
      for (const p of q) ctx.lineTo(p[0] + 0.7 * Math.sign(p[0] - mx), p[1] + 0.7 * Math.sign(p[1] - my));
      ctx.fill();
    }
}

function heightAt(panel, share, mark) {
  const v = panel.floats[nearestOf(panel.y.places, mark.y) * panel.x.places.length + nearestOf(panel.x.places, mark.x)];
  return Number.isFinite(v) ? share(v) : null;
}
