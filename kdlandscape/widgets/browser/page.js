
// The saved page: a slider for each dim in the file, and clicks that move them.

const { scenes, dims, angle, buffers } = JSON.parse(document.getElementById("data").textContent);
const whole = (panel) =>
  panel.z === undefined ? panel : { ...panel, z: buffers[panel.z], colors: buffers[panel.colors] };
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

const mounted = mountBoard(document.getElementById("board"), (message) => {
  for (const [dim, v] of message.moves || []) {
    const k = dims.findIndex((one) => one.dim === dim.name);
    if (k >= 0) sliders[k].input.value = nearestIndex(dim.run ? dims[k].runs : dims[k].places, v);
  }
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
  mounted.update({ panels: scene.panels.map(whole), sentence: scene.sentence, serial: index + 1 });
}
showCell();
