"""A file layer that fails and lags at random under a study: the cube is that of an undisturbed one."""

import errno
import fcntl
import json
import os
import random
import time
import warnings
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

from kdlandscape.cubes import files, locks
from kdlandscape.cubes.files import DiskFullError, publish, write_error
from kdlandscape.cubes.locks import LesserFileSystem
from kdlandscape.cubes.store import compact, missing, open_cube, write_run

LABELS = {"long_name": "loss", "units": "nat"}
RUNS = 100
FAULTS = {
    "fsync": [errno.EIO, errno.EINVAL, errno.ENOSYS],
    "replace": [errno.EIO, errno.EBUSY, errno.ESTALE],
    "rename": [errno.EIO, errno.EBUSY],
    "mkdir": [errno.EIO, errno.ESTALE],
    "unlink": [errno.EIO, errno.EBUSY],
    "rmdir": [errno.EIO, errno.ENOTEMPTY],
    "chmod": [errno.EPERM, errno.EOPNOTSUPP],
}


class Faults:
    """Makes calls of the operating system fail, or take a while, at random."""

    def __init__(self, monkeypatch, seed, share):
        self.draw, self.share, self.count = random.Random(seed), share, 0
        for name, numbers in FAULTS.items():
            monkeypatch.setattr(os, name, self.failing(getattr(os, name), numbers))
        monkeypatch.setattr(fcntl, "flock", self.failing(fcntl.flock, [errno.ENOLCK, errno.EIO, errno.ENOSYS]))
        monkeypatch.setattr(Path, "write_text", self.failing(Path.write_text, [errno.EIO]))
        monkeypatch.setattr(xr.Dataset, "to_netcdf", self.failing(xr.Dataset.to_netcdf, [-101], after=True))
        monkeypatch.setattr(netCDF4.Dataset, "close", self.failing(netCDF4.Dataset.close, [-101], after=True))

    def failing(self, function, numbers, after=False):
        def call(*arguments, **settings):
            chance = self.draw.random()
            if chance < self.share / 5:
                time.sleep(0.001)
            fails = self.share / 5 < chance < self.share
            result = function(*arguments, **settings) if after or not fails else None
            if fails:
                self.count += 1
                number = self.draw.choice(numbers)
                raise OSError(number, "NetCDF: HDF error" if number < 0 else os.strerror(number))
            return result

        return call


def record(study, seed):
    """File a run's result away as a worker does, or how it failed."""
    values = np.random.default_rng(seed).normal(size=5)
    dataset = xr.Dataset({"loss": (("seed", "x"), values[None], LABELS)}, {"seed": [seed], "x": range(5)})
    work = study / ".work"
    try:
        work.mkdir(exist_ok=True)
        write_run(dataset.assign_attrs({"run.recipe": "abc"}), work / f"{seed}.nc")
        publish(work / f"{seed}.nc", study / "runs" / f"{seed}.nc")
    except DiskFullError:
        raise
    except OSError as error:
        write_error({"name": "OSError", "value": str(error)}, study / "errors" / f"{seed}.json")


def start(folder):
    for name in ("runs", "errors"):
        (folder / name).mkdir(parents=True)
    spec = {"study": "s", "grid": {"seed": list(range(RUNS))}, "resolved": {"spec_hash": "abc"}}
    (folder / "spec.yaml").write_text(json.dumps(spec))
    return folder


def test_a_study_of_a_hundred_runs_ends_in_the_undisturbed_cube(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_PAUSES", (0.0, 0.001, 0.002))
    monkeypatch.setenv(locks._TOLD, "")
    calm = start(tmp_path / "calm")
    for run in range(RUNS):
        record(calm, run)
    with open_cube(compact(calm)) as cube:
        expected = cube.load()
    study = start(tmp_path / "shaken")
    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        faults = Faults(patch, seed=0, share=0.1)
        for _ in range(4):  # the same command again goes on
            for run in range(RUNS):
                try:
                    if not (study / "runs" / f"{run}.nc").exists():
                        record(study, run)
                    if run % 25 == 24:
                        compact(study)
                except OSError:
                    continue
    assert faults.count > 150
    assert {warning.category for warning in told} == {LesserFileSystem}
    assert len(told) <= 3  # of locks, files and folders once each
    with open_cube(compact(study)) as cube:
        assert missing(cube) == []
        xr.testing.assert_identical(cube.load(), expected)
