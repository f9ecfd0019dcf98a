// Lines and stems against an axis, with the present place marked.

const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3], [1, 2]];
const DOTS = ["circle", "square", "triangle", "diamond", "star"];

function drawLines(ctx, size, panel, theme) {
  const box = { left: 60, top: 10, width: size.width - 60 - 12, height: size.height - 10 - 38 };
  const all = panel.lines.flatMap((line) => line.x.map((x, i) => [x, line.y[i]]));
  const known = all.filter(([, y]) => y !== null && (!panel.log || y > 0));
  if (!known.length) {
    hatch(ctx, box, theme);
    return;
  }
  const rx = paddedOf(all.map(([x]) => x), 0.04, false);
  const ry = paddedOf(known.map(([, y]) => y), 0.08, panel.log);
  const whole = panel.lines.every((line) => line.stems); // an index has no halves, and the legend stands above
  if (whole) {
    const high = Math.max(0, ...known.map(([, y]) => y)), low = Math.min(0, ...known.map(([, y]) => y));
    [rx[0], rx[1]] = [rx[0] - 0.4, rx[1] + 0.4];
    [ry[0], ry[1]] = [1.1 * low, high + (high - low || 1) * (0.06 + 0.09 * panel.lines.length)];
  }
  const crowded = !whole && panel.lines.length > 2 && !panel.log;
  if (crowded) ry[1] += (ry[1] - ry[0]) * 0.08 * panel.lines.length;
  const sx = scaleOf(rx, false, box.left, box.left + box.width);
  const sy = scaleOf(ry, panel.log, box.top + box.height, box.top);
  let ticks = tickPlaces(panel.x, rx, 6);
  if (whole) ticks = ticks.filter((v) => Number.isInteger(v));
  drawAxes(ctx, box, theme,
    { name: panel.x.name, labels: panel.x.labels, scale: sx, ticks },
    { name: panel.label, scale: sy, ticks: ticksOf(ry, panel.log, 5) });
  if (panel.at !== null) {
    ctx.strokeStyle = theme.ink;
    ctx.globalAlpha = 0.35;
    ctx.lineWidth = 7;
    ctx.beginPath();
    ctx.moveTo(sx(panel.at), box.top);
    ctx.lineTo(sx(panel.at), box.top + box.height);
    ctx.stroke();
    ctx.globalAlpha = 1;
  }
  panel.lines.forEach((line, k) => drawLine(ctx, line, k, panel, { sx, sy, box, theme }));
  if (panel.lines.length > 1 || panel.lines[0].stems)
    drawLegend(ctx, box, theme, panel.lines.map((line) => ({
      name: line.name,
      draw: (a, b, y) => {
        strokeAs(ctx, line);
        if (!line.stems) {
          ctx.beginPath();
          ctx.moveTo(a, y);
          ctx.lineTo(b, y);
          ctx.stroke();
        }
        ctx.setLineDash([]);
        drawMark(ctx, DOTS[line.style % DOTS.length], (a + b) / 2, y, 3, line.color, line.color);
      },
    })), whole ? "top right" : crowded ? "top left" : emptiestOf(panel, sx, sy, box));
  panel.box = box;
  panel.toData = (px) => [rx[0] + ((px - box.left) / box.width) * (rx[1] - rx[0]), 0];
}

function strokeAs(ctx, line) {
  ctx.strokeStyle = line.color;
  ctx.lineWidth = 1.8;
  ctx.setLineDash(line.stems ? [] : DASHES[line.style % DASHES.length]);
}

function drawLine(ctx, line, k, panel, { sx, sy, box }) {
  strokeAs(ctx, line);
  const shift = line.stems ? 5 * (k - (panel.lines.length - 1) / 2) : 0;
  const places = line.x.map((x, i) => {
    const y = line.y[i];
    return y === null || (panel.log && y <= 0) ? null : [sx(x) + shift, sy(y), x];
  });
  ctx.beginPath();
  let pen = false;
  for (const p of places) {
    if (p === null) pen = false;
    else if (line.stems) {
      ctx.moveTo(p[0], sy(0));
      ctx.lineTo(p[0], p[1]);
    } else {
      if (pen) ctx.lineTo(p[0], p[1]);
      else ctx.moveTo(p[0], p[1]);
      pen = true;
    }
  }
  ctx.stroke();
  ctx.setLineDash([]);
  const few = box.width / Math.max(1, line.x.length) > 7;
  for (const p of places) {
    if (p === null) continue;
    const here = panel.at !== null && Math.abs(p[2] - panel.at) < 1e-9;
    if (few || here) drawMark(ctx, DOTS[line.style % DOTS.length], p[0], p[1], here ? 5.5 : 3, line.color, line.color);
  }
}

function paddedOf(values, share, log) {
  let low = Infinity, high = -Infinity;
  for (const v of values) {
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  if (log) {
    const factor = (high / low) ** share || 1;
    return high > low ? [low / factor, high * factor] : [low / 2, high * 2];
  }
  const pad = high > low ? share * (high - low) : Math.abs(high) * 0.1 || 0.5;
  return [low - pad, high + pad];
}

function emptiestOf(panel, sx, sy, box) {
  const corners = ["top right", "top left", "bottom right", "bottom left"];
  const crowd = corners.map((corner) => {
    let count = 0;
    for (const line of panel.lines)
      line.x.forEach((x, i) => {
        if (line.y[i] === null) return;
        const right = sx(x) > box.left + box.width / 2, low = sy(line.y[i]) > box.top + box.height / 2;
        if (right === corner.includes("right") && low === corner.includes("bottom")) count++;
      });
    return count;
  });
  return corners[crowd.indexOf(Math.min(...crowd))];
}
