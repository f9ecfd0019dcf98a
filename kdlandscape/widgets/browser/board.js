// The board: panels side by side, redrawn from one scene; clicks and keys go back as one small message.

const FRONT = [-0.6, 0.62, 1];

// The keys belong to what has the focus inside, not to the notebook around it (an arrow would walk its cells).
export function ownKeys(el) {
  // Lumino asks the focused element alone whether it wants the shortcuts of its surroundings.
  el.addEventListener("focusin", (event) => (event.target.dataset.lmSuppressShortcuts = "true"));
}

export function mountBoard(el, pick, angle = FRONT, seen = () => {}) {
  el.classList.add("kdl-board");
  const sentence = document.createElement("p");
  sentence.className = "kdl-sentence";
  sentence.setAttribute("aria-live", "polite");
  el.append(sentence);
  const panelAt = (index) => panels[index] || { kind: "message" }; // a hidden slot still hears the pointer leave
  let panels = [], slots = [], view = { turn: angle[0], tilt: angle[1], zoom: angle[2] };

  function update(scene) {
    panels = scene.panels.map(prepare);
    while (slots.length < panels.length) slots.push(makeSlot(slots.length));
    slots.forEach((slot, i) => (slot.figure.hidden = i >= panels.length));
    el.classList.toggle("kdl-many", panels.length > 5);
    sentence.textContent = scene.sentence || "";
    redraw();
    el.dataset.serial = scene.serial;
    el.dataset.busy = scene.busy || "";
  }

  function redraw() {
    panels.forEach((panel, i) => drawSlot(slots[i], panel, el, view));
  }

  function look(next, done = true) {
    view = next;
    if (!done) requestAnimationFrame(redraw); // a drag moves more often than a screen shows
    else {
      redraw();
      seen([view.turn, view.tilt, view.zoom]);
    }
  }

  function makeSlot(index) {
    const slot = makeFigure(), send = (message) => message && pick({ panel: index, ...message });
    el.append(slot.figure);
    slot.canvas.addEventListener("click", (event) => {
      if (!slot.dragged) send(clicked(panelAt(index), event));
      slot.dragged = false;
    });
    slot.canvas.addEventListener("keydown", (event) => {
      const panel = panelAt(index), step = STEPS[event.key];
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      slot.ends = slot.ends || {};
      const line = panel.smooth && panel.pick === "point" && panel.point && lineByKey(panel, event.key, slot.ends);
      if (panel.kind === "surface" && (step || ZOOMS[event.key] || event.key === "0")) look(keyed(view, event.key));
      else if (step && panel.pick === "point") send(neighbour(panel, step));
      else if (step && step[0] && panel.pick === "story") send(neighbourAlong(panel, step[0]));
      else if (step && step[0] && panel.pick === "network") send(nextNode(panel, step[0]));
      else if (event.key === "Enter" && panel.pick === "open") send({ kind: "open" });
      else if (line && line.kind) send(line);
      else if (line) slot.readout.textContent = line.said;
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    slot.canvas.addEventListener("pointermove", (event) => {
      const panel = panelAt(index);
      if (panel.kind === "surface" && event.buttons)
        look(turned(view, event.movementX / 120, event.movementY / 150), false);
      else if (slot.from && event.buttons) stretch(slot, panel, event, el, view);
      else if (panel.kind !== "surface") slot.readout.textContent = hovered(panel, event) || panel.readout;
    });
    slot.canvas.addEventListener("pointerdown", (event) => {
      const panel = panelAt(index);
      slot.dragged = false;
      slot.from = panel.kind === "plane" && panel.smooth && panel.pick === "point" ? endOf(panel, event) : null;
      if (panel.kind === "surface" || slot.from) slot.canvas.setPointerCapture(event.pointerId);
    });
    slot.canvas.addEventListener("pointerup", (event) => {
      const panel = panelAt(index), end = slot.dragged && endOf(panel, event);
      if (panel.kind === "surface") look(view);
      else if (end) send(lineOf(slot.from, end));
      else if (slot.dragged) redraw();
      slot.from = null;
    });
    slot.canvas.addEventListener("pointercancel", () => {
      slot.from = null;
      redraw();
    });
    slot.canvas.addEventListener("dblclick", () => panelAt(index).kind === "surface" && look(keyed(view, "0")));
    slot.canvas.addEventListener("wheel", (event) => {
      if (panelAt(index).kind !== "surface" || document.activeElement !== slot.canvas) return; // a page scrolls by itself
      look(zoomed(view, Math.exp(-event.deltaY / 500)));
      event.preventDefault();
    }, { passive: false });
    slot.canvas.addEventListener("pointerleave", () => (slot.readout.textContent = panelAt(index).readout || ""));
    return slot;
  }

  const resized = new ResizeObserver(() => redraw());
  resized.observe(el);
  const themed = new MutationObserver(() => redraw());
  themed.observe(document.body, { attributes: true });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", redraw);
  const forget = () => {
    resized.disconnect();
    themed.disconnect();
    scheme.removeEventListener("change", redraw);
  };
  return { update, forget };
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const ZOOMS = { "+": 1.1, "=": 1.1, "-": 1 / 1.1 };

function makeFigure() {
  const figure = document.createElement("figure");
  const title = document.createElement("figcaption");
  const canvas = document.createElement("canvas");
  const message = document.createElement("p");
  const readout = document.createElement("output");
  message.className = "kdl-message";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  figure.append(title, canvas, message, readout);
  return { figure, title, canvas, message, readout };
}

function prepare(panel) {
  if (panel.kind === "graph") return { ...panel, table: bytesOf(panel.colors) };
  if (!panel.z) return panel;
  return { ...panel, floats: floatsOf(bytesOf(panel.z)), table: bytesOf(panel.colors) };
}

function drawSlot(slot, panel, el, view) {
  const told = panel.kind === "message";
  slot.title.textContent = panel.title;
  slot.message.textContent = told ? panel.text : "";
  slot.readout.textContent = panel.readout || "";
  slot.canvas.hidden = told;
  slot.figure.classList.toggle("kdl-missing", told);
  slot.figure.classList.toggle("kdl-large", ["plane", "surface", "graph"].includes(panel.kind));
  slot.canvas.setAttribute("aria-label", `${panel.title}. ${panel.label || ""}. ${panel.readout || ""}`);
  slot.canvas.title = panel.kind === "plane" && panel.smooth && panel.pick ? HOW : "";
  slot.canvas.style.cursor = panel.kind === "surface" ? "grab" : panel.pick ? "crosshair" : "default";
  const width = slot.canvas.clientWidth, height = slot.canvas.clientHeight;
  if (told || !width) return;
  const ratio = window.devicePixelRatio || 1;
  slot.canvas.width = Math.round(width * ratio);
  slot.canvas.height = Math.round(height * ratio);
  const ctx = slot.canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  const theme = themeOf(el), size = { width, height };
  if (panel.kind === "plane") drawPlane(ctx, size, panel, theme);
  else if (panel.kind === "surface") drawSurface(ctx, size, panel, theme, view);
  else if (panel.kind === "graph") drawGraph(ctx, size, panel, theme);
  else drawLines(ctx, size, panel, theme);
}

function inside(panel, event) {
  const { box } = panel, px = event.offsetX, py = event.offsetY;
  const hit = box && px >= box.left && px <= box.left + box.width && py >= box.top && py <= box.top + box.height;
  return hit ? panel.toData(px, py) : null;
}

// What a click chooses: a point of a plane, a place of the story, one of the repeats. ``moves`` says it dim by dim.
function clicked(panel, event) {
  if (panel.pick === "open") return { kind: "open" };
  if (panel.pick === "network") {
    const node = nodeAt(panel, event.offsetX, event.offsetY);
    return node && chosenNode(panel, node);
  }
  const at = panel.pick && panel.kind !== "surface" ? inside(panel, event) : null;
  if (!at) return null;
  if (panel.pick === "point") return pointed(panel, at);
  const spot = panel.repeat ? spotAt(panel, event.offsetX, event.offsetY, 14) : null;
  const run = spot && spot.line.role === "thin" ? spot.line.run : -1;
  if (panel.pick === "repeat" && run < 0) return null;
  return along(panel, spot && panel.pick === "story" ? spot.x : at[0], run);
}

function pointed(panel, at) {
  const [x, y] = [valueAt(panel.x, at[0]), valueAt(panel.y, at[1])];
  return { kind: "point", x, y, moves: [[{ name: panel.x.dim }, x], [{ name: panel.y.dim }, y]] };
}

function along(panel, place, run = -1) {
  const x = valueAt(panel.x, place);
  const moves = panel.pick === "story" ? [[{ name: panel.x.dim }, x]] : [];
  if (run >= 0) moves.push([{ name: panel.repeat, run: true }, run]);
  return { kind: panel.pick, x, y: 0, dim: panel.x.dim, run, repeat: panel.repeat, moves };
}

const HOW = "click or arrow keys: a point; drag, or a and b at two points: the line between them; Delete removes it";
const NEAR = 10; // pixels: an end of a line so near to a network is at it

// The end of a line under the pointer: at a network, where one is near; null beside the plane.
function endOf(panel, event) {
  const at = inside(panel, event);
  if (!at) return null;
  const away = (mark) => Math.hypot(...panel.toScreen(mark.x, mark.y).map((p, i) => p - [event.offsetX, event.offsetY][i]));
  const mark = panel.marks.filter((one) => away(one) < NEAR).sort((a, b) => away(a) - away(b))[0];
  return { at: mark ? [mark.x, mark.y] : at, name: mark ? mark.name : "", px: event.offsetX, py: event.offsetY };
}

function lineOf(from, to) {
  return { kind: "line", line: [...from.at, ...to.at], names: [from.name, to.name] };
}

// While the pointer is dragged, the line follows it.
function stretch(slot, panel, event, el, view) {
  const end = endOf(panel, event), { px, py } = slot.from;
  if (!end || (!slot.dragged && Math.hypot(event.offsetX - px, event.offsetY - py) < 6)) return;
  slot.dragged = true;
  drawSlot(slot, { ...panel, line: [slot.from.at, end.at] }, el, view);
  slot.readout.textContent = `from ${placeOf(panel, slot.from)} to ${placeOf(panel, end)}`;
}

const placeOf = (panel, end) => end.name || `${panel.x.short} = ${textOf(end.at[0])}, ${panel.y.short} = ${textOf(end.at[1])}`;

// The keys a and b lay the begin and the end of a line at the chosen point, Delete removes it.
function lineByKey(panel, key, ends) {
  if (key === "Delete" || key === "Backspace") {
    ends.a = ends.b = null;
    return { kind: "line", line: [], names: [] };
  }
  if (key !== "a" && key !== "b") return null;
  const mark = panel.marks.find((one) => Math.abs(one.x - panel.point[0]) + Math.abs(one.y - panel.point[1]) < 1e-9);
  ends[key] = { at: panel.point, name: mark ? mark.name : "" };
  if (ends.a && ends.b) return lineOf(ends.a, ends.b);
  const other = key === "a" ? "b" : "a";
  return { said: `${placeOf(panel, ends[key])} is one end of a line: move on with the arrow keys and press ${other}` };
}

function neighbour(panel, step) {
  const move = (places, v, by) => places[Math.max(0, Math.min(places.length - 1, nearestOf(places, v) + by))];
  const [x, y] = panel.point || [panel.x.places[0], panel.y.places[0]];
  return pointed(panel, [move(panel.x.places, x, step[0]), move(panel.y.places, y, step[1])]);
}

function neighbourAlong(panel, step) {
  const sorted = [...panel.x.places].sort((a, b) => a - b);
  const at = nearestOf(sorted, panel.at) + step;
  return at >= 0 && at < sorted.length ? along(panel, sorted[at]) : null;
}

function hovered(panel, event) {
  if (panel.kind === "graph") return nodeText(nodeAt(panel, event.offsetX, event.offsetY));
  const at = inside(panel, event);
  if (!at) return "";
  if (panel.kind === "lines") {
    const spot = spotAt(panel, event.offsetX, event.offsetY, 40);
    return spot ? `${spot.line.name ? `${spot.line.name}: ` : ""}${tickText(panel.x, spot.x)} → ${textOf(spot.y)}` : "";
  }
  const i = nearestOf(panel.x.places, at[0]), j = nearestOf(panel.y.places, at[1]);
  const v = panel.floats[j * panel.x.places.length + i];
  const name = (axis, k) => `${axis.short} = ${axis.labels ? axis.labels[k] : textOf(axis.places[k])}`;
  return `${name(panel.x, i)}, ${name(panel.y, j)}: ${Number.isFinite(v) ? textOf(v) : "no finite value"}`;
}

const nodeText = (node) => (node ? [node.name, node.value].filter(Boolean).join(": ") : "");

function turned(view, by, tilt) {
  return { ...view, turn: view.turn + by, tilt: Math.max(0.1, Math.min(1.5, view.tilt + tilt)) };
}

function zoomed(view, by) {
  return { ...view, zoom: Math.max(0.5, Math.min(4, view.zoom * by)) };
}

function keyed(view, key) {
  if (key === "0") return { turn: FRONT[0], tilt: FRONT[1], zoom: FRONT[2] };
  return ZOOMS[key] ? zoomed(view, ZOOMS[key]) : turned(view, 0.1 * STEPS[key][0], 0.08 * STEPS[key][1]);
}
