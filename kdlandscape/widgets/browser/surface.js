// The surface from the side: a height field of coloured quadrilaterals, drawn from back to front.

function drawSurface(ctx, size, panel, theme, view) {
  const step = Math.ceil(Math.max(panel.x.places.length, panel.y.places.length) / 64);
  const nx = panel.x.places.length;
  const ix = everyOf(nx, step), iy = everyOf(panel.y.places.length, step);
  const share = shareOf(panel.limits, panel.log);
  const cx = scaleOf([panel.x.places[0], panel.x.places[nx - 1]], false, -1, 1);
  const cy = scaleOf([panel.y.places[0], panel.y.places[panel.y.places.length - 1]], false, -1, 1);
  const [ca, sa] = [Math.cos(view.turn), Math.sin(view.turn)], [ct, st] = [Math.cos(view.tilt), Math.sin(view.tilt)];
  const unit = Math.min(size.width / 3.1, size.height / 2.7);
  const middle = [size.width / 2, size.height / 2 + 8];
  const project = (x, y, h) => {
    const u = ca * x - sa * y, v = sa * x + ca * y;
    return [middle[0] + unit * u, middle[1] - unit * (v * st + (h - 0.5) * 1.15 * ct)];
  };
  drawFloor(ctx, project, theme, panel, ca > 0 ? -1.22 : 1.22, sa > 0 ? -1.22 : 1.22);
  const at = (i, j) => panel.floats[iy[j] * nx + ix[i]];
  const columns = orderOf(ix.length - 1, sa > 0), rows = orderOf(iy.length - 1, ca > 0);
  const shape = { ix, iy, at, share, project, cx, cy, panel, columns, rows };
  drawQuads(ctx, shape);
  for (const mark of panel.marks) {
    const h = heightAt(panel, share, mark);
    const x = Math.max(-1, Math.min(1, cx(mark.x))), y = Math.max(-1, Math.min(1, cy(mark.y)));
    if (h === null || x !== cx(mark.x) || y !== cy(mark.y)) continue;
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

function drawFloor(ctx, project, theme, panel, front, side) {
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([x, y]) => project(x, y, 0));
  ctx.strokeStyle = theme.ink;
  ctx.globalAlpha = 0.5;
  ctx.lineWidth = 1;
  ctx.beginPath();
  corners.forEach((c) => ctx.lineTo(...c));
  ctx.closePath();
  ctx.stroke();
  ctx.globalAlpha = 1;
  ctx.fillStyle = theme.ink;
  ctx.font = `12px ${theme.font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(panel.x.name, ...project(0, front, 0));
  ctx.fillText(panel.y.name, ...project(side, 0, 0));
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
      // Half a pixel outwards closes the seams between neighbours for half the price of a stroke.
      const mx = (q[0][0] + q[2][0]) / 2, my = (q[0][1] + q[2][1]) / 2;
      ctx.beginPath();
      for (const p of q) ctx.lineTo(p[0] + 0.5 * Math.sign(p[0] - mx), p[1] + 0.5 * Math.sign(p[1] - my));
      ctx.fill();
    }
}

function heightAt(panel, share, mark) {
  const nearest = (places, v) => places.reduce((best, p, i) => (Math.abs(p - v) < Math.abs(places[best] - v) ? i : best), 0);
  const v = panel.floats[nearest(panel.y.places, mark.y) * panel.x.places.length + nearest(panel.x.places, mark.x)];
  return Number.isFinite(v) ? share(v) : null;
}
