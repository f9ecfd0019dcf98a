// What all panels share: bytes, scales, ticks, colours of the theme, axes and hatching.

function bytesOf(value) {
  if (typeof value !== "string") return value; // a DataView from the kernel
  const text = atob(value); // base64 in a page without a kernel
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new DataView(bytes.buffer);
}

function floatsOf(view) {
  const out = new Float32Array(view.byteLength / 4);
  for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
  return out;
}

function scaleOf([low, high], log, from, to) {
  const f = log ? Math.log : (v) => v;
  const a = f(low), b = f(high);
  return (v) => from + ((f(v) - a) / (b - a || 1)) * (to - from);
}

function shareOf([low, high], log) {
  const scale = scaleOf([low, high], log, 0, 1);
  return (v) => (v <= low ? 0 : v >= high ? 1 : scale(v));
}

function ticksOf([low, high], log, count) {
  if (log && low > 0) {
    const ticks = [];
    const decades = Math.log10(high / low);
    const steps = decades > 2.5 ? [1] : decades > 1 ? [1, 3] : [1, 2, 5];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const s of steps) {
        const v = s * 10 ** e;
        if (v >= low * 0.999 && v <= high * 1.001) ticks.push(v);
      }
    if (ticks.length > 1) return ticks.length > 7 ? ticks.filter((_, i) => i % 2 === 0) : ticks;
  }
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= raw) || raw;
  const ticks = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step)
    ticks.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return ticks;
}

function textOf(v) {
  const a = Math.abs(v);
  if (a !== 0 && (a >= 1e5 || a < 1e-3)) {
    const [m, e] = v.toExponential(1).split("e");
    return `${m.replace(/\.0$/, "")}e${Number(e)}`;
  }
  return String(Number(v.toPrecision(4)));
}

function themeOf(element) {
  const style = getComputedStyle(element);
  return { ink: style.color, paper: style.backgroundColor, font: style.fontFamily };
}

// Diagonal lines mean: no value here.
function hatch(ctx, box, theme) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top, box.width, box.height);
  ctx.clip();
  ctx.globalAlpha = 0.25;
  ctx.strokeStyle = theme.ink;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (let d = -box.height; d < box.width; d += 8) {
    ctx.moveTo(box.left + d, box.top + box.height);
    ctx.lineTo(box.left + d + box.height, box.top);
  }
  ctx.stroke();
  ctx.restore();
}

function drawAxes(ctx, box, theme, x, y) {
  ctx.strokeStyle = theme.ink;
  ctx.fillStyle = theme.ink;
  ctx.font = `11px ${theme.font}`;
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.6;
  ctx.strokeRect(box.left + 0.5, box.top + 0.5, box.width - 1, box.height - 1);
  ctx.globalAlpha = 1;
  const bottom = box.top + box.height;
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (const v of x.ticks)
    if (x.slant) slanted(ctx, shortened(ctx, tickText(x, v), SLANT), x.scale(v) + 4, bottom + 6);
    else ctx.fillText(tickText(x, v), x.scale(v), bottom + 5);
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  x.lines.forEach((text, i) => ctx.fillText(text, box.left + box.width / 2, bottom + 19 + x.slant + LINE * i));
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const v of y.ticks) ctx.fillText(shortened(ctx, tickText(y, v), y.room), box.left - 5, y.scale(v));
  y.lines.forEach((text, i) => sideways(ctx, text, 9 + LINE * i, box.top + box.height / 2));
}

const LINE = 13;

// A label in one line or two, each no longer than a width.
function linesOf(ctx, theme, text, width) {
  ctx.font = `11px ${theme.font}`;
  if (ctx.measureText(text).width <= width) return [text];
  const words = text.split(" ");
  let first = words.shift();
  while (words.length && ctx.measureText(`${first} ${words[0]}`).width <= width) first += ` ${words.shift()}`;
  return [shortened(ctx, first, width), ...(words.length ? [shortened(ctx, words.join(" "), width)] : [])];
}

const SLANT = 96; // the longest slanted text, in pixels

// How much lower the label of an axis stands because the texts of its places have to slant; 0 where they fit.
function slantOf(ctx, theme, axis, width) {
  if (!axis.labels) return 0;
  ctx.font = `11px ${theme.font}`;
  const ticks = tickPlaces(axis), longest = Math.max(...ticks.map((v) => ctx.measureText(axis.labels[v]).width));
  return longest < width / ticks.length - 6 ? 0 : Math.round(0.55 * Math.min(longest, SLANT));
}

// The room for the texts beside a vertical axis, in pixels.
function tickRoom(ctx, theme, axis) {
  ctx.font = `11px ${theme.font}`;
  return axis.labels ? Math.min(96, Math.max(...axis.labels.map((text) => ctx.measureText(text).width)) + 2) : 32;
}

function slanted(ctx, text, x, y) {
  ctx.save();
  ctx.translate(x, y);
  ctx.rotate(-0.6);
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.fillText(text, 0, 0);
  ctx.restore();
}

function sideways(ctx, text, x, y) {
  ctx.save();
  ctx.translate(x, y);
  ctx.rotate(-Math.PI / 2);
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(text, 0, 0);
  ctx.restore();
}

const tickText = (axis, v) => (axis.labels ? axis.labels[Math.round(v)] : textOf(v));

function shortened(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && ctx.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
}

function tickPlaces(axis, range, count) {
  if (!axis.labels) return ticksOf(range, axis.log, count);
  const step = Math.ceil(axis.labels.length / 8);
  return axis.labels.map((_, i) => i).filter((i) => i % step === 0);
}

// The coordinate at a place of an axis: that of the nearest block, where the places are blocks.
function valueAt(axis, v) {
  return axis.labels ? axis.values[nearestOf(axis.places, v)] : v;
}

function nearestOf(places, v) {
  return places.reduce((best, p, i) => (Math.abs(p - v) < Math.abs(places[best] - v) ? i : best), 0);
}

function rangeOf(axis) {
  const first = axis.places[0], last = axis.places[axis.places.length - 1];
  return [first, last];
}

const SHAPES = {
  circle: (ctx, x, y, r) => ctx.arc(x, y, r, 0, 7),
  square: (ctx, x, y, r) => ctx.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r),
  diamond: (ctx, x, y, r) => polygon(ctx, x, y, [1.25 * r], 4, 0),
  triangle: (ctx, x, y, r) => polygon(ctx, x, y, [1.25 * r], 3, -Math.PI / 2),
  star: (ctx, x, y, r) => polygon(ctx, x, y, [1.7 * r, 0.7 * r], 10, -Math.PI / 2),
};

function polygon(ctx, x, y, radii, corners, turn) {
  for (let i = 0; i <= corners; i++) {
    const r = radii[i % radii.length], a = turn + (2 * Math.PI * i) / corners;
    ctx.lineTo(x + r * Math.cos(a), y + r * Math.sin(a));
  }
}

function drawMark(ctx, symbol, x, y, r, fill, edge) {
  ctx.beginPath();
  SHAPES[symbol](ctx, x, y, r);
  ctx.fillStyle = fill;
  ctx.fill();
  ctx.lineWidth = 1.2;
  ctx.strokeStyle = edge;
  ctx.stroke();
}

// A legend stands in rows above the picture, where no data are; returns the height that it takes.
function drawLegend(ctx, left, width, theme, entries) {
  if (!entries.length) return 0;
  ctx.font = `11px ${theme.font}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  let x = left, y = 9;
  for (const entry of entries) {
    const text = shortened(ctx, entry.name, width - 30), wide = ctx.measureText(text).width + 36;
    if (x > left && x + wide > left + width) {
      x = left;
      y += 15;
    }
    if (entry.draw) entry.draw(x, x + 20, y);
    ctx.globalAlpha = 1;
    ctx.setLineDash([]);
    ctx.fillStyle = theme.ink;
    ctx.fillText(text, x + (entry.draw ? 24 : 2), y);
    x += wide;
  }
  return y + 9;
}
