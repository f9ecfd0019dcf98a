// The board with its controls as plain HTML, for front ends that know one anywidget and no ipywidgets.

function mountForms(el, ask) {
  const held = new Map();
  function update(forms) {
    const keys = new Set(forms.map((form) => form.key));
    for (const [key, one] of held)
      if (!keys.has(key)) {
        one.root.remove();
        held.delete(key);
      }
    const shape = (form) => JSON.stringify([form.kind, form.label, form.options, form.play]);
    forms.forEach((form, i) => {
      let one = held.get(form.key);
      if (!one || one.shape !== shape(form)) {
        const made = { ...MAKERS[form.kind](form, (value) => ask({ key: form.key, value })), shape: shape(form) };
        if (one) one.root.replaceWith(made.root);
        held.set(form.key, (one = made));
      }
      if (el.children[i] !== one.root) el.insertBefore(one.root, el.children[i] || null);
      one.set(form);
    });
  }
  return update;
}

function make(tag, text = "", settings = {}) {
  const made = Object.assign(document.createElement(tag), settings);
  if (text) made.textContent = text;
  return made;
}

function named(form, ...inner) {
  const root = make("label");
  root.append(make("span", form.label), ...inner);
  return root;
}

const MAKERS = {
  list(form, send) {
    const input = make("select");
    form.options.forEach((text, i) => input.append(make("option", text, { value: i })));
    input.addEventListener("change", () => send(Number(input.value)));
    return { root: named(form, input), set: ({ value, disabled }) => Object.assign(input, { value, disabled }) };
  },
  buttons(form, send) {
    const root = make("span", "", { className: "kdl-buttons" });
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", form.label || form.key);
    const buttons = form.options.map((text, i) => make("button", text, { onclick: () => send(i) }));
    root.append(make("span", form.label), ...buttons);
    return { root, set: ({ value }) => buttons.forEach((one, i) => one.setAttribute("aria-pressed", i === value)) };
  },
  range(form, send) {
    const input = make("input", "", { type: "range", min: 0, max: form.options.length - 1, step: 1 });
    const output = make("output");
    let timer = null, dragged = false, playing = null;
    const say = () => (output.textContent = form.options[Number(input.value)]);
    const later = () => {
      timer = timer || setTimeout(() => {
        timer = null;
        send(Number(input.value));
      }, 40); // a drag asks for no more pictures than are drawn
    };
    input.addEventListener("input", () => {
      say();
      later();
    });
    input.addEventListener("pointerdown", () => (dragged = true));
    input.addEventListener("pointerup", () => (dragged = false));
    const root = named(form, input, output);
    const play = make("button", "▶", { title: "play the story", onclick: () => {
      playing = playing ? clearInterval(playing) : setInterval(() => {
        if (!root.isConnected || Number(input.value) >= form.options.length - 1) playing = clearInterval(playing);
        else {
          input.value = Number(input.value) + 1;
          say();
          later();
        }
        play.textContent = playing ? "❚❚" : "▶";
      }, 700);
      play.textContent = playing ? "❚❚" : "▶";
    } });
    if (form.play) root.append(play);
    return { root, set({ value }) {
      if (!dragged && !timer) input.value = value;
      say();
    } };
  },
  check(form, send) {
    const input = make("input", "", { type: "checkbox" }), root = make("label");
    input.addEventListener("change", () => send(input.checked));
    root.append(input, make("span", form.label));
    return { root, set: ({ value, disabled }) => Object.assign(input, { checked: value, disabled }) };
  },
  text(form, send) {
    const input = make("input", "", { type: "text" });
    input.addEventListener("change", () => send(input.value));
    const set = ({ value }) => input.matches(":focus") || (input.value = value); // what is being typed is not undone
    return { root: named(form, input), set };
  },
  button(form, send) {
    const root = make("button", form.label, { onclick: () => send(true) });
    return { root, set: ({ disabled }) => (root.disabled = disabled) };
  },
  said() {
    const root = make("output");
    return { root, set({ value, bad }) {
      root.textContent = value;
      root.className = bad ? "kdl-bad" : "kdl-said";
    } };
  },
  progress() {
    const root = make("progress");
    return { root, set: ({ value, max }) => Object.assign(root, { max, value }) };
  },
};

export default {
  render({ model, el }) {
    const forms = make("div", "", { className: "kdl-forms" }), board = make("div"), more = make("details", "", { className: "kdl-code" });
    const tools = make("div", "", { className: "kdl-forms" }), code = make("pre", "", { tabIndex: 0 });
    more.append(make("summary", "Export, save and code"), tools, code);
    const whole = make("div", "", { className: "kdl-alone" });
    whole.append(forms, board, more);
    ownKeys(whole);
    el.append(whole);
    const pick = (message) => {
      model.set("picked", { ...message, serial: (model.get("picked").serial || 0) + 1 });
      model.save_changes();
    };
    const ask = (message) => {
      // front ends send the last state only, so what is not answered yet is asked again beside it
      const open = model.get("asked").filter(({ serial }) => serial > model.get("answered"));
      const serial = Math.max(model.get("answered"), ...open.map((one) => one.serial)) + 1;
      model.set("asked", [...open, { ...message, serial }]);
      model.save_changes();
    };
    const updates = [mountForms(forms, ask), mountForms(tools, ask)];
    const mounted = mountBoard(board, pick, model.get("angle"), (angle) => {
      model.set("angle", angle);
      model.save_changes();
    });
    const show = {
      scene: () => mounted.update(model.get("scene")),
      forms: () => updates.forEach((update, i) => update(model.get("forms").filter((form) => form.tool === (i > 0)))),
      code: () => (code.textContent = model.get("code")),
    };
    for (const [name, draw] of Object.entries(show)) model.on(`change:${name}`, draw);
    show.forms();
    show.code();
    requestAnimationFrame(show.scene);
    return () => {
      for (const [name, draw] of Object.entries(show)) model.off(`change:${name}`, draw);
      mounted.forget();
    };
  },
};
