// Lines and stems against an axis, with their spread over repeats and the present place marked.

const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3], [1, 2]];
const DOTS = ["circle", "square", "triangle", "diamond", "star"];

function drawLines(ctx, size, panel, theme) {
  const stems = panel.lines.every((line) => line.role === "stems");
  const legend = drawLegend(ctx, 4, size.width - 8, theme, legendOf(ctx, panel, theme));
  const top = 6 + legend + (panel.ends && panel.ends.some(Boolean) ? 13 : 0);
  const slant = slantOf(ctx, theme, panel.x, size.width - 90), high = size.height - top - slant - 44;
  const label = { x: linesOf(ctx, theme, panel.x.name, size.width - 74), y: linesOf(ctx, theme, panel.label, high) };
  const left = 47 + LINE * label.y.length, foot = 25 + slant + LINE * label.x.length;
  const box = { left, top, width: size.width - left - 12, height: size.height - top - foot };
  panel.spots = [];
  const known = panel.lines.flatMap((line) => [...line.y, ...(line.low || []), ...(line.high || [])])
    .filter((y) => y !== null && (!panel.log || y > 0));
  if (!known.length) {
    hatch(ctx, box, theme);
    return;
  }
  const rx = panel.x.labels ? blocksOf(panel.x) : paddedOf(panel.lines.flatMap((line) => line.x), 0.04, panel.x.log);
  const ry = panel.limits && !panel.log && !stems ? paddedOf(panel.limits, 0.06, false) : paddedOf(known, 0.08, panel.log);
  if (stems) {
    const most = Math.max(0, ...known), least = Math.min(0, ...known);
    [rx[0], rx[1], ry[0], ry[1]] = [rx[0] - 0.4, rx[1] + 0.4, 1.1 * least, most + 0.06 * (most - least || 1)];
  }
  const sx = scaleOf(rx, panel.x.log, box.left, box.left + box.width);
  const sy = scaleOf(ry, panel.log, box.top + box.height, box.top);
  let ticks = tickPlaces(panel.x, rx, 6);
  if (stems) ticks = ticks.filter((v) => Number.isInteger(v));
  drawAxes(ctx, box, theme,
    { lines: label.x, slant, labels: panel.x.labels, scale: sx, ticks },
    { lines: label.y, room: 36, scale: sy, ticks: ticksOf(ry, panel.log, 5) });
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top, box.width, box.height);
  ctx.clip();
  if (panel.at !== null) drawHere(ctx, box, theme, sx(panel.at));
  const where = { sx, sy, box, stems: panel.lines.length };
  panel.lines.forEach((line, k) => drawLine(ctx, line, k, panel, where));
  if (panel.chord) drawBarrier(ctx, panel, theme, sx, sy);
  ctx.restore();
  drawEnds(ctx, panel, box, theme, sx);
  panel.box = box;
  const back = (px) => (px - box.left) / box.width;
  panel.toData = (px) => [panel.x.log ? rx[0] * (rx[1] / rx[0]) ** back(px) : rx[0] + back(px) * (rx[1] - rx[0]), 0];
}

function legendOf(ctx, panel, theme) {
  const named = panel.lines.filter((line) => line.name), roles = new Set(panel.lines.map((line) => line.role));
  const entries = named.length > 1 || roles.has("stems") || roles.has("mean") || panel.bracket
    ? named.map((line) => ({ name: line.name, draw: (a, b, y) => drawSample(ctx, line, a, b, y) })) : [];
  const stroke = (dash, width, alpha) => (a, b, y) => {
    ctx.strokeStyle = theme.ink;
    ctx.setLineDash(dash);
    ctx.lineWidth = width;
    ctx.globalAlpha = alpha;
    ctx.beginPath();
    ctx.moveTo(a, y);
    ctx.lineTo(b, y);
    ctx.stroke();
  };
  if (roles.has("mean")) entries.push({ name: "mean, 95 % interval", draw: stroke([], 8, 0.3) });
  if (roles.has("thin")) entries.push({ name: "each repeat", draw: stroke([], 0.8, 0.7) });
  if (panel.bracket) entries.push({ name: `chord; ${panel.bracket.text}`, draw: stroke([2, 3], 1.2, 0.8) });
  return entries;
}

function drawSample(ctx, line, a, b, y) {
  strokeAs(ctx, line);
  if (line.role !== "stems" && line.joined) {
    ctx.beginPath();
    ctx.moveTo(a, y);
    ctx.lineTo(b, y);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  drawMark(ctx, DOTS[line.style % DOTS.length], (a + b) / 2, y, 3, line.color, line.color);
}

function drawHere(ctx, box, theme, x) {
  ctx.strokeStyle = theme.ink;
  ctx.globalAlpha = 0.25;
  ctx.lineWidth = 7;
  ctx.beginPath();
  ctx.moveTo(x, box.top);
  ctx.lineTo(x, box.top + box.height);
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function strokeAs(ctx, line) {
  ctx.strokeStyle = line.color;
  ctx.fillStyle = line.color;
  ctx.lineWidth = { thin: 0.8, mean: 2.6 }[line.role] || 1.6;
  ctx.globalAlpha = { thin: 0.5, mean: 0.6 }[line.role] || 1;
  ctx.setLineDash(line.role === "stems" || line.role === "mean" ? [] : DASHES[line.style % DASHES.length]);
}

function drawLine(ctx, line, k, panel, { sx, sy, box, stems }) {
  const shift = line.role === "stems" ? 5 * (k - (stems - 1) / 2) : 0;
  const finite = (y) => y !== null && y !== undefined && (!panel.log || y > 0);
  const places = line.x.map((x, i) => (finite(line.y[i]) ? [sx(x) + shift, sy(line.y[i]), x, line.y[i]] : null));
  if (line.role === "mean") drawBand(ctx, line, finite, sx, sy);
  strokeAs(ctx, line);
  ctx.beginPath();
  let pen = false;
  for (const p of places) {
    if (p === null) pen = false;
    else if (line.role === "stems") {
      ctx.moveTo(p[0], sy(0));
      ctx.lineTo(p[0], p[1]);
    } else {
      if (pen && line.joined) ctx.lineTo(p[0], p[1]);
      else ctx.moveTo(p[0], p[1]);
      pen = true;
    }
  }
  ctx.stroke();
  ctx.setLineDash([]);
  const few = line.role !== "thin" && line.role !== "mean" && box.width / Math.max(1, line.x.length) > 7;
  for (const p of places) {
    if (p === null) continue;
    if (line.role !== "mean") panel.spots.push({ px: p[0], py: p[1], x: p[2], y: p[3], line });
    const here = line.role === "run" && panel.at !== null && Math.abs(p[2] - panel.at) < 1e-9;
    if (few || here || !line.joined)
      drawMark(ctx, DOTS[line.style % DOTS.length], p[0], p[1], here ? 5 : line.role === "run" ? 3 : 1.8, line.color, line.color);
  }
  ctx.globalAlpha = 1;
}

function drawBand(ctx, line, finite, sx, sy) {
  ctx.fillStyle = ctx.strokeStyle = line.color;
  ctx.lineWidth = 1.5;
  ctx.setLineDash([]);
  for (let i = 0; i < line.x.length; i++) {
    if (!finite(line.low[i]) || !finite(line.high[i])) continue;
    const [x, low, high] = [sx(line.x[i]), sy(line.low[i]), sy(line.high[i])];
    ctx.globalAlpha = 0.18;
    ctx.beginPath();
    if (!line.joined) {
      ctx.globalAlpha = 0.6;
      for (const [y, half] of [[low, 4], [high, 4], [sy(line.y[i]), 7]]) {
        ctx.moveTo(x - half, y);
        ctx.lineTo(x + half, y);
      }
      ctx.moveTo(x, low);
      ctx.lineTo(x, high);
      ctx.stroke();
    } else if (i + 1 < line.x.length && finite(line.low[i + 1]) && finite(line.high[i + 1])) {
      ctx.moveTo(x, low);
      ctx.lineTo(sx(line.x[i + 1]), sy(line.low[i + 1]));
      ctx.lineTo(sx(line.x[i + 1]), sy(line.high[i + 1]));
      ctx.lineTo(x, high);
      ctx.fill();
    }
  }
  ctx.globalAlpha = 1;
}

// The chord between the ends of a path, and the barrier: how far the path rises above it.
function drawBarrier(ctx, panel, theme, sx, sy) {
  const [x0, y0, x1, y1] = panel.chord, spot = panel.bracket;
  ctx.strokeStyle = theme.ink;
  ctx.lineWidth = 1.2;
  ctx.setLineDash([2, 3]);
  ctx.beginPath();
  ctx.moveTo(sx(x0), sy(y0));
  ctx.lineTo(sx(x1), sy(y1));
  ctx.stroke();
  ctx.setLineDash([]);
  const x = sx(spot.x), [low, high] = [sy(spot.low), sy(spot.high)];
  ctx.beginPath();
  for (const y of [low, high]) {
    ctx.moveTo(x - 5, y);
    ctx.lineTo(x + 5, y);
  }
  ctx.moveTo(x, low);
  ctx.lineTo(x, high);
  ctx.stroke();
}

function drawEnds(ctx, panel, box, theme, sx) {
  if (!panel.ends) return;
  ctx.fillStyle = theme.ink;
  ctx.font = `600 11px ${theme.font}`;
  ctx.textBaseline = "bottom";
  panel.ends.forEach((name, i) => {
    ctx.textAlign = i ? "right" : "left";
    ctx.fillText(shortened(ctx, name, box.width / 2 - 8), i ? Math.max(box.left + 40, sx(1)) : sx(0), box.top - 1);
  });
}

// The point of a line next to the pointer; null beyond a reach in pixels.
function spotAt(panel, px, py, reach) {
  let best = null, least = reach;
  for (const spot of panel.spots || []) {
    const gap = Math.hypot(spot.px - px, spot.py - py);
    if (gap < least) [best, least] = [spot, gap];
  }
  return best;
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
