
// The saved page: a slider for each dim in the file, and clicks that move them.

const { scenes, dims, angle, buffers } = JSON.parse(document.getElementById("data").textContent);
const whole = (panel) =>
  panel.colors === undefined ? panel : { ...panel, colors: buffers[panel.colors], ...(panel.z === undefined ? {} : { z: buffers[panel.z] }) };
const nearestIndex = (places, v) =>
  places.reduce((best, p, i) => (Math.abs(p - v) < Math.abs(places[best] - v) ? i : best), 0);

const sliders = dims.map((dim) => {
  const label = document.createElement("label"), name = document.createElement("span");
  const input = document.createElement("input"), output = document.createElement("output");
  name.textContent = dim.name;
  Object.assign(input, { type: "range", min: 0, max: dim.texts.length - 1, step: 1, value: dim.start });
  input.setAttribute("aria-label", dim.name);
  input.addEventListener("input", showCell);
  label.append(name, input, output);
  document.getElementById("sliders").append(label);
  return { input, output };
});

// A click that no slider follows is kept: the chosen point of the planes, or the line between two.
let chosen = {};

const mounted = mountBoard(document.getElementById("board"), (message) => {
  let followed = false;
  for (const [dim, v] of message.moves || []) {
    const k = dims.findIndex((one) => one.dim === dim.name);
    if (k < 0) continue;
    sliders[k].input.value = nearestIndex(dim.run ? dims[k].runs : dims[k].places, v);
    followed = true;
  }
  if (message.kind === "point" && !followed) chosen = { ...chosen, point: [message.x, message.y] };
  if (message.kind === "line") chosen = { ...chosen, line: message.line, names: message.names };
  showCell();
}, angle);

function showCell() {
  let index = 0;
  dims.forEach((dim, k) => {
    const i = Number(sliders[k].input.value);
    sliders[k].output.textContent = dim.texts[i];
    index = index * dim.texts.length + i;
  });
  const scene = scenes[index];
  const panels = withLine(scene.panels.map(whole).map((panel, _, every) => withPoint(panel, every)));
  mounted.update({ panels, sentence: scene.sentence, serial: index + 1 });
}

const gridOf = (panel) => ({ z: floatsOf(bytesOf(panel.z)), xs: panel.x.places, ys: panel.y.places });

// A plane with the chosen point, and the panel of the two grid lines through it.
function withPoint(panel, every) {
  if (!chosen.point) return panel;
  const plane = panel.through ? every.find((one) => one.kind === "plane") : panel;
  if (!plane || plane.kind !== "plane" || plane.pick !== "point") return panel;
  const { z, xs, ys } = gridOf(plane), i = nearestOf(xs, chosen.point[0]), j = nearestOf(ys, chosen.point[1]);
  const at = (k, l) => (Number.isFinite(z[l * xs.length + k]) ? z[l * xs.length + k] : null);
  if (!panel.through) {
    const said = (axis, k) => `${axis.short} = ${axis.labels ? axis.labels[k] : textOf(axis.places[k])}`;
    const value = at(i, j) === null ? "no finite value" : textOf(at(i, j));
    return { ...panel, point: [xs[i], ys[j]], readout: `${said(panel.x, i)}, ${said(panel.y, j)}: ${value}` };
  }
  const [along, across] = panel.lines, [x, y] = [plane.x.short, plane.y.short];
  const lines = [
    { ...along, name: `along ${x}, ${y} = ${textOf(ys[j])}`, y: xs.map((_, k) => at(k, j)) },
    { ...across, name: `along ${y}, ${x} = ${textOf(xs[i])}`, y: ys.map((_, l) => at(i, l)) },
  ];
  return { ...panel, lines };
}

// The panels with the value on the chosen line, which replaces the one that the page was saved with.
function withLine(panels) {
  if (!chosen.line) return panels;
  const kept = panels.filter((panel) => !panel.cut), plane = kept.find((panel) => panel.kind === "plane");
  if (!chosen.line.length || !plane) return kept.map((panel) => ({ ...panel, line: null }));
  const place = (name, k) => (plane.marks.find((mark) => mark.name === name) || { x: chosen.line[2 * k], y: chosen.line[2 * k + 1] });
  const ends = chosen.names.map((name, k) => [place(name, k).x, place(name, k).y]);
  const names = chosen.names.map((name, k) => name || `(${ends[k].map((v) => Number(v.toPrecision(3))).join(", ")})`);
  const drawn = kept.map((panel) => (panel.kind === "plane" && panel.pick ? { ...panel, line: ends } : panel));
  const after = 1 + drawn.reduce((last, panel, i) => (panel.z === undefined ? last : i), -1);
  return [...drawn.slice(0, after), linePanel(plane, ends, names), ...drawn.slice(after)];
}

function linePanel(plane, ends, names) {
  const t = Array.from({ length: 65 }, (_, i) => i / 64), grid = gridOf(plane);
  const y = t.map((s) => bilinear(grid, ...[0, 1].map((k) => ends[0][k] + s * (ends[1][k] - ends[0][k]))));
  const x = { name: "place on the line, t", short: "t", places: [], labels: null, smooth: true, joined: true, log: false };
  const line = { name: "value", x: t, y, style: 0, color: "#0173b2", role: "run", run: -1, joined: true };
  const panel = { kind: "lines", title: `from ${names[0]} to ${names[1]}`, x, label: plane.label, lines: [line], log: false,
    limits: null, at: null, pick: "", repeat: "", ends: names, cut: true,
    readout: "between the points of the plane's grid: interpolated (bilinear)" };
  return y[0] === null || y[64] === null ? panel : { ...panel, chord: [0, y[0], 1, y[64]], bracket: bracketOf(t, y) };
}

// How far the line rises above the chord between its ends: the barrier, where the value is a loss.
function bracketOf(t, y) {
  const chord = t.map((s) => (1 - s) * y[0] + s * y[64]);
  const top = t.reduce((best, _, i) => (y[i] !== null && y[i] - chord[i] > y[best] - chord[best] ? i : best), 0);
  return { x: t[top], low: chord[top], high: y[top], text: `rises by ${textOf(y[top] - chord[top])}` };
}

function bilinear({ z, xs, ys }, x, y) {
  const cell = (places, v) => Math.max(0, Math.min(places.length - 2, places.findIndex((p) => p > v) - 1));
  const last = (places) => places[places.length - 1];
  if (x < xs[0] || x > last(xs) || y < ys[0] || y > last(ys)) return null;
  const i = x === last(xs) ? xs.length - 2 : cell(xs, x), j = y === last(ys) ? ys.length - 2 : cell(ys, y);
  const [a, b] = [(x - xs[i]) / (xs[i + 1] - xs[i]), (y - ys[j]) / (ys[j + 1] - ys[j])];
  const at = (k, l) => z[l * xs.length + k];
  const v = (1 - b) * ((1 - a) * at(i, j) + a * at(i + 1, j)) + b * ((1 - a) * at(i, j + 1) + a * at(i + 1, j + 1));
  return Number.isFinite(v) ? v : null;
}
showCell();
