// The board as a widget: a scene comes in, what was picked and the angle go out.

// The picture that stands in for the board where there is no kernel is the output before it.
function standIn(el) {
  const own = el.closest(".jp-OutputArea-child, .output_area");
  const before = own && own.previousElementSibling;
  return before && before.querySelector("img") && !before.querySelector("canvas") ? before : null;
}

export default {
  render({ model, el }) {
    const board = mountBoard(el, (message) => {
      model.set("picked", { ...message, serial: (model.get("picked").serial || 0) + 1 });
      model.save_changes();
    }, model.get("angle"), (angle) => {
      model.set("angle", angle);
      model.save_changes();
    });
    let still = null, owned = null;
    const show = () => {
      if (!owned) ownKeys((owned = el.closest(".kdl-controls") || el));
      board.update(model.get("scene"));
      still = still || standIn(el);
      if (still) still.style.display = "none";
    };
    model.on("change:scene", show);
    requestAnimationFrame(show);
    return () => {
      model.off("change:scene", show);
      if (still) still.style.display = "";
      board.forget();
    };
  },
};
