export default {
  render({ model, el }) {
    el.classList.add("kdl-code");
    const button = document.createElement("button");
    const text = document.createElement("pre");
    button.className = "jupyter-button";
    button.textContent = "Copy code";
    text.tabIndex = 0;
    const show = () => (text.textContent = model.get("code"));
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(model.get("code"));
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text); // no permission: the lines are selected for Ctrl+C
        button.textContent = "Selected: press Ctrl+C";
      }
      setTimeout(() => (button.textContent = "Copy code"), 2500);
    });
    model.on("change:code", show);
    show();
    el.append(button, text);
  },
};
