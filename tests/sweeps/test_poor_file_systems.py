"""A study on a file system that is less than ext4: it works, and says so once."""

import os
import subprocess
import sys

from kdlandscape.cubes.store import missing, open_cube
from tests.tiny_study import write_spec

# Python runs this at the start of every process: the driver, the workers, the kernels.
POOR = """
import errno, fcntl, os, stat
root = os.environ["POOR"]
def poor(function, number, needs=lambda descriptor: True):
    def call(where, *arguments, **settings):
        path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else os.fspath(where)
        if str(path).startswith(root) and needs(where):
            raise OSError(number, os.strerror(number))
        return function(where, *arguments, **settings)
    return call
os.fsync = poor(os.fsync, errno.EINVAL, lambda descriptor: stat.S_ISDIR(os.fstat(descriptor).st_mode))
fcntl.flock = poor(fcntl.flock, errno.ENOLCK)
os.chmod = poor(os.chmod, errno.EPERM)
"""


def test_a_study_without_locks_modes_and_flushes_of_folders_works_and_says_so_once(tmp_path):
    (tmp_path / "poor").mkdir()
    (tmp_path / "poor" / "sitecustomize.py").write_text(POOR)
    path = write_spec(tmp_path, grid={"seed": [0, 1]}, parameters={"folder": str(tmp_path)})
    places = os.pathsep.join([str(tmp_path / "poor"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places, "POOR": str(tmp_path / "studies")}
    command = [sys.executable, "-m", "kdlandscape.cli", "run", path, "--root", tmp_path / "studies", "--warm"]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("this file system has no locks") == 1
    assert done.stderr.count("this file system cannot flush folders") == 1
    assert "Traceback" not in done.stderr
    with open_cube(tmp_path / "studies" / "tiny") as cube:
        assert missing(cube) == []
    left = {entry.name for entry in (tmp_path / "studies" / "tiny").iterdir()}
    assert left >= {"cube.nc", "runs", "spec.yaml"}
    assert not [name for name in left if name.startswith((".tmp", ".cube"))]
    assert not list((tmp_path / "studies" / "tiny" / ".work").iterdir())
