// The board: panels side by side, redrawn from one scene; clicks and keys go back as one small message.

export function mountBoard(el, pick) {
  el.classList.add("kdl-board");
  let panels = [], slots = [], view = { turn: -0.6, tilt: 0.62 };

  function update(scene) {
    panels = scene.panels.map(prepare);
    while (slots.length < panels.length) slots.push(makeSlot(slots.length));
    slots.forEach((slot, i) => (slot.figure.hidden = i >= panels.length));
    el.classList.toggle("kdl-many", panels.length > 5);
    redraw();
    el.dataset.serial = scene.serial;
    el.dataset.busy = scene.busy || "";
  }

  function redraw() {
    panels.forEach((panel, i) => drawSlot(slots[i], panel, el, view));
  }

  function makeSlot(index) {
    const slot = makeFigure();
    el.append(slot.figure);
    const send = (at) => at && pick({ panel: index, kind: panels[index].pick, x: at[0], y: at[1] });
    slot.canvas.addEventListener("click", (event) => {
      const panel = panels[index];
      if (panel.pick && panel.kind !== "surface") send(inside(panel, event));
    });
    slot.canvas.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      const panel = panels[index];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      if (panel.kind === "surface") {
        view = turned(view, 0.1 * step[0], 0.08 * step[1]);
        redraw();
      } else if (panel.pick === "point") send(neighbour(panel, step));
      else if (panel.pick === "story" && step[0]) send(neighbourAlong(panel, step[0]));
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    slot.canvas.addEventListener("pointermove", (event) => {
      const panel = panels[index];
      if (panel.kind === "surface" && event.buttons) {
        view = turned(view, event.movementX / 120, event.movementY / 150);
        requestAnimationFrame(redraw);
      } else if (panel.kind === "plane") slot.readout.textContent = hovered(panel, event) || panel.readout;
    });
    slot.canvas.addEventListener("pointerdown", (event) => {
      if (panels[index].kind === "surface") slot.canvas.setPointerCapture(event.pointerId);
    });
    slot.canvas.addEventListener("pointerleave", () => (slot.readout.textContent = panels[index].readout || ""));
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
  slot.canvas.setAttribute("aria-label", `${panel.title}. ${panel.label || ""}. ${panel.readout || ""}`);
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
  else drawLines(ctx, size, panel, theme);
}

function inside(panel, event) {
  const { box } = panel, px = event.offsetX, py = event.offsetY;
  const hit = box && px >= box.left && px <= box.left + box.width && py >= box.top && py <= box.top + box.height;
  return hit ? panel.toData(px, py) : null;
}

function nearestOf(places, v) {
  return places.reduce((best, p, i) => (Math.abs(p - v) < Math.abs(places[best] - v) ? i : best), 0);
}

function neighbour(panel, step) {
  const move = (places, v, by) => places[Math.max(0, Math.min(places.length - 1, nearestOf(places, v) + by))];
  const [x, y] = panel.point || [panel.x.places[0], panel.y.places[0]];
  return [move(panel.x.places, x, step[0]), move(panel.y.places, y, step[1])];
}

function neighbourAlong(panel, step) {
  const places = panel.lines[0].x, sorted = [...places].sort((a, b) => a - b);
  const at = sorted.indexOf(panel.at) + step;
  return at >= 0 && at < sorted.length ? [sorted[at], 0] : null;
}

function hovered(panel, event) {
  const at = inside(panel, event);
  if (!at) return "";
  const i = nearestOf(panel.x.places, at[0]), j = nearestOf(panel.y.places, at[1]);
  const v = panel.floats[j * panel.x.places.length + i];
  const name = (axis, k) => (axis.labels ? axis.labels[k] : textOf(axis.places[k]));
  const value = Number.isFinite(v) ? textOf(v) : "no finite value";
  return `${panel.x.name} = ${name(panel.x, i)}, ${panel.y.name} = ${name(panel.y, j)}: ${value}`;
}

function turned(view, by, tilt) {
  return { turn: view.turn + by, tilt: Math.max(0.1, Math.min(1.5, view.tilt + tilt)) };
}

export default {
  render({ model, el }) {
    const board = mountBoard(el, (message) => {
      model.set("picked", { ...message, serial: (model.get("picked").serial || 0) + 1 });
      model.save_changes();
    });
    const show = () => board.update(model.get("scene"));
    model.on("change:scene", show);
    requestAnimationFrame(show);
    return () => {
      model.off("change:scene", show);
      board.forget();
    };
  },
};
