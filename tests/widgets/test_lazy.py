"""A cube larger than memory: sparse on disk, read cell by cell."""

import os
import subprocess
import sys

import netCDF4
import numpy as np

NUM = 501
EXPLORE = """
import re, sys
from pathlib import Path
import kdlandscape as kdl
def resident():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
cube = kdl.open_cube(sys.argv[1])
before = resident()
explorer = kdl.explore(cube)
for place in (0, 3, 7, 99):
    explorer.sliders["at", "init_lambda"].value = place
for view in ("compare", "story"):
    explorer.state.view = view
assert explorer.board.scene["panels"][0]["kind"] == "plane", explorer.board.scene["panels"][0]
print(cube["plane_loss"].nbytes, resident() - before)
"""


def write_sparse(path, seeds):
    """Write planes of which nearly none is stored: a chunk that was never written takes no room."""
    with netCDF4.Dataset(path, "w") as file:
        sizes = {"seed": seeds, "init_lambda": 100, "y": NUM, "x": NUM}
        for name, size in sizes.items():
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = np.linspace(0, 1, size)
        loss = file.createVariable("plane_loss", "f4", tuple(sizes), chunksizes=(1, 1, NUM, NUM), fill_value=np.nan)
        for place in (0, 3, 7, 99):
            loss[0, place] = 1 + np.add.outer(np.linspace(0, 1, NUM), np.linspace(0, 1, NUM)) * place


def test_a_cube_larger_than_memory_is_explored_without_being_read(tmp_path):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    write_sparse(tmp_path / "cube.nc", seeds=int(1.5 * memory / (100 * NUM * NUM * 4)))
    assert (tmp_path / "cube.nc").stat().st_size < 50e6
    command = [sys.executable, "-c", EXPLORE, str(tmp_path / "cube.nc")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, used = map(int, done.stdout.split())
    assert size > 1.4 * memory
    assert used < 500e6, f"{used / 1e6:.0f} MB for planes of {NUM * NUM * 4 / 1e6:.0f} MB"
