// The surface from above: colours between grid points, contours, marks, the chosen point, and a colour bar.

function drawPlane(ctx, size, panel, theme) {
  const z = panel.floats, xs = panel.x.places, ys = panel.y.places;
  const [rx, ry] = [panel.x, panel.y].map((axis) => (panel.smooth ? rangeOf(axis) : blocksOf(axis)));
  const top = 7 + drawLegend(ctx, 4, size.width - 8, theme, panel.marks.map((mark) => ({
    name: mark.name,
    draw: (a, b, y) => drawMark(ctx, mark.symbol, (a + b) / 2, y, 4.5, "white", "black"),
  })));
  let wide = Math.max(60, size.width - 156), high = Math.max(60, size.height - top - 52);
  if (panel.square) wide = high = Math.min(wide, high);
  const label = { x: linesOf(ctx, theme, panel.x.name, wide), y: linesOf(ctx, theme, panel.y.name, high) };
  label.bar = linesOf(ctx, theme, panel.label, high);
  const slant = slantOf(ctx, theme, panel.x, wide);
  const room = tickRoom(ctx, theme, panel.y), left = 11 + room + LINE * label.y.length, right = 73 + LINE * label.bar.length;
  const foot = 25 + slant + LINE * label.x.length;
  const space = [Math.max(60, size.width - left - right), Math.max(60, size.height - top - foot)];
  if (panel.square) {
    const unit = Math.min(space[0] / (rx[1] - rx[0]), space[1] / (ry[1] - ry[0]));
    space[0] = unit * (rx[1] - rx[0]);
    space[1] = unit * (ry[1] - ry[0]);
  }
  const box = { left, top, width: space[0], height: space[1] };
  const sx = scaleOf(rx, false, box.left, box.left + box.width);
  const sy = scaleOf(ry, false, box.top + box.height, box.top);
  hatch(ctx, box, theme);
  drawColors(ctx, box, panel, z, xs, ys, rx, ry);
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top, box.width, box.height);
  ctx.clip();
  strokeSegments(ctx, segmentsOf(panel), (x, y) => [sx(x), sy(y)], "white", 0.6);
  if (panel.point) drawPoint(ctx, box, sx(panel.point[0]), sy(panel.point[1]));
  if (panel.line) drawCut(ctx, panel.line.map(([x, y]) => [sx(x), sy(y)]));
  for (const mark of panel.marks) drawMark(ctx, mark.symbol, sx(mark.x), sy(mark.y), 5, "white", "black");
  ctx.restore();
  drawAxes(ctx, box, theme,
    { lines: label.x, slant, labels: panel.x.labels, scale: sx, ticks: tickPlaces(panel.x, rx, 5) },
    { lines: label.y, room, labels: panel.y.labels, scale: sy, ticks: tickPlaces(panel.y, ry, 5) });
  drawColorBar(ctx, { left: box.left + box.width + 10, top: box.top, width: 12, height: box.height }, panel, theme, label.bar);
  panel.box = box;
  panel.toScreen = (x, y) => [sx(x), sy(y)];
  panel.toData = (px, py) => [
    rx[0] + ((px - box.left) / box.width) * (rx[1] - rx[0]),
    ry[0] + ((box.top + box.height - py) / box.height) * (ry[1] - ry[0]),
  ];
}

// Blocks reach half way to their neighbours, and as far beyond the first and the last.
function blocksOf(axis) {
  const p = axis.places, n = p.length;
  return n < 2 ? [p[0] - 0.5, p[0] + 0.5] : [p[0] - (p[1] - p[0]) / 2, p[n - 1] + (p[n - 1] - p[n - 2]) / 2];
}

function drawPoint(ctx, box, px, py) {
  for (const [color, width] of [["black", 3], ["white", 1.2]]) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width;
    ctx.globalAlpha = color === "black" ? 0.45 : 0.95;
    ctx.setLineDash([5, 4]);
    ctx.beginPath();
    ctx.moveTo(box.left, py);
    ctx.lineTo(box.left + box.width, py);
    ctx.moveTo(px, box.top);
    ctx.lineTo(px, box.top + box.height);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = "white";
  ctx.lineWidth = 2;
  ctx.beginPath();
  ctx.arc(px, py, 7, 0, 7);
  ctx.stroke();
}

// The line between two points, thicker towards its end, so that its direction is seen.
function drawCut(ctx, [[x0, y0], [x1, y1]]) {
  const long = Math.hypot(x1 - x0, y1 - y0) || 1, [u, v] = [(x1 - x0) / long, (y1 - y0) / long];
  for (const [color, width] of [["black", 4], ["white", 2]]) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.moveTo(x0, y0);
    ctx.lineTo(x1, y1);
    for (const side of [-1, 1]) {
      ctx.moveTo(x1, y1);
      ctx.lineTo(x1 - 9 * u + side * 5 * v, y1 - 9 * v - side * 5 * u);
    }
    ctx.stroke();
  }
}

function cellsAlong(places, count, range, flip, smooth) {
  const index = new Int32Array(count), weight = new Float32Array(count);
  let k = 0;
  for (let i = 0; i < count; i++) {
    const v = range[0] + ((i + 0.5) / count) * (range[1] - range[0]);
    while (k < places.length - 2 && places[k + 1] < v) k++;
    const at = flip ? count - 1 - i : i, share = (v - places[k]) / (places[k + 1] - places[k]);
    index[at] = k;
    weight[at] = smooth ? share : share < 0.5 ? 0 : 1; // between two blocks there is nothing
  }
  return [index, weight];
}

function drawColors(ctx, box, panel, z, xs, ys, rx, ry) {
  const n = xs.length, ratio = window.devicePixelRatio || 1;
  const w = Math.round(box.width * ratio), h = Math.round(box.height * ratio);
  const [ix, wx] = cellsAlong(xs, w, rx, false, panel.smooth), [iy, wy] = cellsAlong(ys, h, ry, true, panel.smooth);
  const picture = new ImageData(w, h), out = picture.data, table = panel.table;
  const share = shareOf(panel.limits, panel.log);
  // Colours are interpolated in the colour scale (in the logarithm, where it is logarithmic).
  const shares = Float32Array.from(z, (v) => (Number.isFinite(v) ? share(v) : NaN));
  for (let j = 0, o = 0; j < h; j++) {
    const a = wy[j], low = iy[j] * n, high = low + n;
    for (let i = 0; i < w; i++, o += 4) {
      const k = ix[i], b = wx[i];
      let v = !panel.smooth ? shares[(a ? high : low) + (b ? k + 1 : k)] : (1 - a) * ((1 - b) * shares[low + k] + b * shares[low + k + 1])
        + a * ((1 - b) * shares[high + k] + b * shares[high + k + 1]);
      if (v !== v && panel.smooth) v = shares[(a < 0.5 ? low : high) + (b < 0.5 ? k : k + 1)]; // beside a gap: the nearest point
      if (v !== v) continue; // the hatching stays
      const c = 3 * Math.min(255, (v * 256) | 0);
      out[o] = table.getUint8(c);
      out[o + 1] = table.getUint8(c + 1);
      out[o + 2] = table.getUint8(c + 2);
      out[o + 3] = 255;
    }
  }
  const off = new OffscreenCanvas(w, h);
  off.getContext("2d").putImageData(picture, 0, 0);
  ctx.drawImage(off, box.left, box.top, box.width, box.height);
}

// Marching squares, once a panel; a cell with a gap at a corner has no contour.
function segmentsOf(panel) {
  if (panel.segments) return panel.segments;
  const z = panel.floats, xs = panel.x.places, ys = panel.y.places, n = xs.length, found = [];
  const f = panel.log ? Math.log : (v) => v;
  for (let j = 0; panel.levels.length && j + 1 < ys.length; j++)
    for (let i = 0; i + 1 < n; i++) {
      const v = [z[j * n + i], z[j * n + i + 1], z[(j + 1) * n + i + 1], z[(j + 1) * n + i]];
      const low = Math.min(v[0], v[1], v[2], v[3]), high = Math.max(v[0], v[1], v[2], v[3]);
      if (!Number.isFinite(low + high) || !panel.levels.some((level) => level > low && level <= high)) continue;
      const px = [xs[i], xs[i + 1], xs[i + 1], xs[i]], py = [ys[j], ys[j], ys[j + 1], ys[j + 1]];
      for (const level of panel.levels) {
        if (level <= low || level > high) continue;
        const cuts = [];
        for (let e = 0; e < 4; e++) {
          const g = (e + 1) % 4;
          if (v[e] < level === v[g] < level) continue;
          const [start, end] = [v[e], v[g]].map((one) => (panel.log ? Math.max(one, level / 1e6) : one));
          const s = (f(level) - f(start)) / (f(end) - f(start));
          cuts.push([px[e] + s * (px[g] - px[e]), py[e] + s * (py[g] - py[e])]);
        }
        for (let c = 0; c + 1 < cuts.length; c += 2) found.push([...cuts[c], ...cuts[c + 1]]);
      }
    }
  return (panel.segments = found);
}

function strokeSegments(ctx, segments, place, color, alpha) {
  ctx.strokeStyle = color;
  ctx.globalAlpha = alpha;
  ctx.lineWidth = 0.8;
  ctx.beginPath();
  for (const [x0, y0, x1, y1] of segments) {
    ctx.moveTo(...place(x0, y0));
    ctx.lineTo(...place(x1, y1));
  }
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function drawColorBar(ctx, box, panel, theme, lines) {
  for (let i = 0; i < box.height; i++) {
    const c = 3 * Math.min(255, Math.floor(256 * (1 - i / box.height)));
    ctx.fillStyle = `rgb(${panel.table.getUint8(c)},${panel.table.getUint8(c + 1)},${panel.table.getUint8(c + 2)})`;
    ctx.fillRect(box.left, box.top + i, box.width, 1.5);
  }
  const scale = scaleOf(panel.limits, panel.log, box.top + box.height, box.top);
  ctx.fillStyle = theme.ink;
  ctx.font = `11px ${theme.font}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  for (const v of ticksOf(panel.limits, panel.log, 5)) ctx.fillText(textOf(v), box.left + box.width + 4, scale(v));
  lines.forEach((text, i) => sideways(ctx, text, box.left + box.width + 50 + LINE * i, box.top + box.height / 2));
}
