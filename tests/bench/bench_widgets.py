"""How long from a slider's key to a new picture, in JupyterLab and Chromium: the explorer beside two other ways.

``python -m tests.bench.bench_widgets`` prints the table and writes results/widgets.md. It needs the extras test and
bench, and chromium. The clock runs in the browser: from the keydown event to the frame after the new picture.
"""

import argparse
import os
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from tests.bench.goals import goal
from tests.bench.peers import missing
from tests.browser import lab
from tests.widgets.cubes import study_cube

RESULTS = Path(__file__).parent / "results" / "widgets.md"
OPEN = "import kdlandscape as kdl\ncube = kdl.open_cube('cube.nc')\nplanes = cube['plane_loss'][0, 0].load()"
EXPLORER = "from IPython.display import display\nexplorer = kdl.explore(cube{})\ndisplay(explorer)"
IMAGE = """
import io, ipywidgets as ipw, matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.colors import LogNorm
shares = [(f"{v:g}", i) for i, v in enumerate(cube.init_lambda.values)]
slider = ipw.SelectionSlider(options=shares, description="λ")
shown = ipw.Image(format="png")
def draw(change):
    figure = Figure(figsize=(8, 4), dpi=100)
    flat, tall = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
    z = planes[slider.value].values
    flat.pcolormesh(cube.x, cube.y, z, norm=LogNorm(1e-2, 5), shading="gouraud")
    flat.contour(cube.x, cube.y, z, levels=np.geomspace(1e-2, 5, 10), colors="white", linewidths=0.4)
    tall.plot_surface(*np.meshgrid(cube.x, cube.y), np.log(z), cmap="viridis", rcount=51, ccount=51)
    file = io.BytesIO(); figure.savefig(file); shown.value = file.getvalue()
slider.observe(draw, "value"); draw(None)
ipw.VBox([slider, shown])
"""
PLOTLY = """
import ipywidgets as ipw, numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
shares = [(f"{v:g}", i) for i, v in enumerate(cube.init_lambda.values)]
slider = ipw.SelectionSlider(options=shares, description="λ")
made = make_subplots(rows=1, cols=2, specs=[[{"type": "contour"}, {"type": "surface"}]])
made.add_contour(z=np.log(planes[0].values), row=1, col=1)
made.add_surface(z=np.log(planes[0].values), row=1, col=2)
figure = go.FigureWidget(made)
def draw(change):
    z = np.log(planes[slider.value].values)
    with figure.batch_update():
        figure.data[0].z = z
        figure.data[1].z = z
slider.observe(draw, "value")
ipw.VBox([slider, figure])
"""
CLOCK = """(kind) => {
  window.times = [];
  let began = null;
  const stop = () => requestAnimationFrame(() => setTimeout(() => {
    if (began !== null) window.times.push(performance.now() - began);
    began = null;
  }, 0));
  document.addEventListener("keydown", () => { began = performance.now(); }, true);
  if (kind === "board")
    new MutationObserver(stop).observe(document.querySelector(".kdl-board"), { attributeFilter: ["data-serial"] });
  if (kind === "image") {
    const image = document.querySelector("img.widget-image, .widget-image img, img.jupyter-widgets");
    new MutationObserver(() => image.decode().then(stop)).observe(image, { attributeFilter: ["src"] });
  }
  if (kind === "plotly") document.querySelector(".js-plotly-plot").on("plotly_afterplot", stop);
}"""
WAYS = {
    "explorer, view explore (5 panels)": ("board", EXPLORER.format("")),
    "explorer, λ story (7 panels)": ("board", EXPLORER.format(", view='story'")),
    "matplotlib (Agg) into ipywidgets.Image (2 panels)": ("image", IMAGE),
    "plotly FigureWidget (2 panels)": ("plotly", PLOTLY),
}


def measure(page, address, kind, moves):
    """Run a notebook and return the milliseconds of each move of its λ slider."""
    lab.run_all(page, address)
    handle = page.locator(".widget-hslider", has_text="λ").first.locator(".noUi-handle")
    page.locator(
        {"board": ".kdl-board canvas", "image": ".widget-image", "plotly": ".js-plotly-plot"}[kind]
    ).first.wait_for()
    handle.focus()
    page.wait_for_timeout(1500)
    page.evaluate(CLOCK, kind)
    keys = (["ArrowRight"] * 10 + ["ArrowLeft"] * 10) * (moves // 20 + 2)
    for count, key in enumerate(keys[: moves + 3]):
        page.keyboard.press(key)
        page.wait_for_function("(n) => window.times.length > n", arg=count, timeout=20_000)
        page.wait_for_timeout(60)
    return np.array(page.evaluate("() => window.times"))[3:]


def row(name, one):
    median, high = np.percentile(one, [50, 95])
    return f"| {name} | {median:.0f} | {high:.0f} | {one.min():.0f}–{one.max():.0f} | {len(one)} |"


def table(times, cube, left_out=()):
    load = os.getloadavg()[0]
    sizes = f"{cube.sizes['y']}×{cube.sizes['x']}×({cube.sizes['init_lambda']} λ)"
    where = f"{platform.machine()}, {os.cpu_count()} CPU cores, load average {load:.1f}"
    lines = [f"# From slider to new picture, {sizes}", "", f"JupyterLab and headless Chromium on one machine: {where}."]
    lines += [
        "",
        "| way | median [ms] | 95th percentile [ms] | fastest–slowest [ms] | moves |",
        "|---|---|---|---|---|",
    ]
    lines += [row(name, one) for name, one in times.items()]
    lines += ["", *(f"- {reason}" for reason in left_out)]
    for name, one in times.items():
        if name.startswith("explorer"):
            median, high = np.percentile(one, [50, 95])
            got = f"{median:.0f} and {high:.0f} ms"
            lines.append(goal(f"{name}: median ≤ 150 and p95 ≤ 300 ms", got, median <= 150 and high <= 300))
    return "\n".join([*lines, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--only", default="", help="measure the ways whose name contains this")
    options = parser.parse_args()
    cube, times = study_cube(num_lambda=11, num=51), {}
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cube.to_netcdf(root / "cube.nc")
        left_out = missing(["plotly"])
        chosen = {name: way for name, way in WAYS.items() if options.only in name and way[0] not in left_out}
        for i, (_, source) in enumerate(chosen.values()):
            lab.write_notebook(root / f"way{i}.ipynb", OPEN, source)
        with lab.jupyterlab(root, lab.environment(root / "home", root)) as address, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for i, (name, (kind, _)) in enumerate(chosen.items()):
                page = browser.new_page(viewport={"width": 1280, "height": 1000})
                times[name] = measure(page, address(f"way{i}.ipynb"), kind, options.moves)
                page.close()
                print(row(name, times[name]), flush=True)
            browser.close()
    text = table(times, cube, left_out.values())
    print(text)
    if not options.only:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
