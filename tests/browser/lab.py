"""A JupyterLab or Voila server on loopback, a Chromium that drives it, and what a user does there."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
READY = """() => {
  const shell = window.jupyterapp && window.jupyterapp.shell;
  const panel = shell && shell.currentWidget;
  if (!panel || !panel.sessionContext || !panel.sessionContext.isReady) return false;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  if (!window.jupyterapp.commands.hasCommand("notebook:run-all-cells")) return false;
  return Boolean(kernel && kernel.connectionStatus === "connected" && kernel.status === "idle");
}"""
CELLS_DONE = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.widgets.filter((c) => c.model.type === "code");
  const busy = cells.some((cell) => cell.model.executionState === "running" || cell.model.executionCount === null);
  return !busy || cells.some((cell) => cell.model.sharedModel.outputs.some((o) => o.output_type === "error"));
}"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell) =>
  cell.model.type !== "code" ? [] : cell.model.sharedModel.outputs.filter((o) => o.output_type === "error")
    .map((o) => `${o.ename}: ${o.evalue}`))"""


def environment(folder, runs):
    """Return an environment in which nothing of Jupyter, IPython or this package touches the user's folders."""
    places = {
        name: str(folder / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "IPYTHONDIR",
            "MPLCONFIGDIR",
        )
    }
    for place in places.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    quiet = Path(
        places["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", "apputils-extension", "notification.jupyterlab-settings"
    )
    quiet.parent.mkdir(parents=True, exist_ok=True)
    quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    return {**os.environ, **places, "KDLANDSCAPE_RUNS": str(runs), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def serving(command, url, env, log, seconds=90):
    """Run a server until the block ends; fail with its log if it does not answer in time."""
    with open(log, "wb") as file:
        server = subprocess.Popen(command, env=env, cwd=log.parent, stdout=file, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                urllib.request.urlopen(url, timeout=10).close()
                break
            except urllib.error.HTTPError:
                break  # it answers
            except OSError as error:
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(
                        f"expected a server at {url}, got {error}:\n{log.read_text()[-3000:]}"
                    ) from error
                time.sleep(0.3)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def jupyterlab(root, env):
    """Serve a folder in JupyterLab; yields a function from a notebook's name to its address."""
    settings = ["--expose-app-in-browser", "--LabApp.news_url=", "--LabApp.extension_manager=readonly"]
    settings += ["--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"]
    with jupyter("jupyterlab", settings, root, env) as (base, token):
        yield lambda name: f"{base}/lab/workspaces/{name.split('.')[0]}/tree/{name}?token={token}"


@contextmanager
def notebook7(root, env):
    """Serve a folder in Notebook 7; yields a function from a notebook's name to its address."""
    with jupyter("notebook", ["--JupyterNotebookApp.expose_app_in_browser=True"], root, env) as (base, token):
        yield lambda name: f"{base}/notebooks/{name}?token={token}"


@contextmanager
def jupyter(module, settings, root, env):
    """Serve a folder by a Jupyter application on loopback; yields its address and its token."""
    port, token = free_port(), secrets.token_hex(16)
    command = [sys.executable, "-m", module, "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", f"--ServerApp.root_dir={root}"]
    command += [f"--IdentityProvider.token={token}", *settings]
    base = f"http://127.0.0.1:{port}"
    with serving(command, f"{base}/api?token={token}", env, root / f"{module}.log"):
        yield base, token


@contextmanager
def marimo(app, env):
    """Serve a marimo app; yields its address."""
    port = free_port()
    homes = {name: str(app.parent / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    env = {**env, **homes, "MARIMO_SKIP_UPDATE_CHECK": "1"}
    command = [sys.executable, "-m", "marimo", "run", str(app), "--headless", "--no-token", "--no-check"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with serving(command, f"http://127.0.0.1:{port}/health", env, app.parent / "marimo.log"):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def voila(notebook, env):
    """Serve a notebook as a Voila page; yields its address."""
    port, token = free_port(), secrets.token_hex(16)
    command = [sys.executable, "-m", "voila", str(notebook), "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    command += [f"--Voila.token={token}", "--show_tracebacks=True"]
    with serving(command, f"http://127.0.0.1:{port}/voila/static/?token={token}", env, notebook.parent / "voila.log"):
        yield f"http://127.0.0.1:{port}/?token={token}"


def copy_notebook(folder, **parameters):
    """Copy explore.ipynb with other parameters."""
    content = json.loads((NOTEBOOKS / "explore.ipynb").read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            lines = "".join(cell["source"]).splitlines()
            for i, line in enumerate(lines):
                name, _, _ = line.partition(":")
                if name in parameters:
                    lines[i] = f"{name} = {parameters.pop(name)!r}"
            cell["source"] = "\n".join(lines)
    assert not parameters, f"no such parameters in the notebook: {parameters}"
    (folder / "explore.ipynb").write_text(json.dumps(content), encoding="utf-8")
    return folder / "explore.ipynb"


def write_notebook(path, *cells):
    """Write a notebook of code cells, which Voila shows in the package's own template, as it does explore.ipynb."""
    content = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for i, cell in enumerate(cells)
    ]
    metadata = json.loads((NOTEBOOKS / "explore.ipynb").read_text(encoding="utf-8"))["metadata"]
    path.write_text(json.dumps({"cells": content, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def run_all(page, address, seconds=120):
    """Open a notebook and run all its cells; raise what a cell raised."""
    page.goto(address)
    # The idle indicator is true before the kernel is connected: ask the session itself.
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(CELLS_DONE, timeout=1000 * seconds)
    errors = page.evaluate(ERRORS)
    assert not errors, errors


def picture_of(page, panel=0, board=0):
    """Return the pixels of a panel as a data address."""
    canvas = page.locator(".kdl-board").nth(board).locator("canvas").nth(panel)
    return canvas.evaluate("(canvas) => canvas.toDataURL()")


def serial_of(page, board=0):
    """Return the number of the scene that a board shows."""
    return int(page.locator(".kdl-board").nth(board).get_attribute("data-serial") or 0)


def wait_redraw(page, before, board=0, seconds=40):
    """Wait until a board shows a later scene."""
    page.wait_for_function(
        "([k, n]) => Number(document.querySelectorAll('.kdl-board')[k].dataset.serial) > n",
        arg=[board, before],
        timeout=1000 * seconds,
    )


def wait_drawn(page):
    """Wait until the browser has drawn two frames: what a message or a style has changed is on the screen."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def wait_failed_pictures(page):
    """Wait until a picture of no picture has said that it failed: one before it, with its script, has had its turn."""
    page.evaluate(
        """() => new Promise((done) => {
          const picture = new Image();
          picture.onerror = () => setTimeout(done);
          picture.src = "data:image/png;base64,AA";
        })"""
    )
