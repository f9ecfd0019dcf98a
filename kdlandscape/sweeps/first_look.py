"""What comes of the first runs is looked at, so that a typo in a spec or a notebook costs two runs and not all."""

from collections.abc import Iterable
from pathlib import Path

import xarray as xr

from kdlandscape.cubes.files import names
from kdlandscape.cubes.schema import SchemaError
from kdlandscape.nearest import did_you_mean, listed
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.job import Outcome
from kdlandscape.sweeps.spec import Spec


def look_at(spec: Spec, folder: Path) -> None:
    """Compare a spec with a finished run of its study, if there is one."""
    done = sorted(names(folder / "runs", ".nc"))
    if done and spec.table is not None:
        check_table(spec, folder / "runs" / f"{done[0]}.nc")


class FirstLook:
    """Looks at what comes of the runs that a driver executes.

    Parameters
    ----------
    spec
        What the study's runs were planned by.
    folder
        The study's folder.
    """

    def __init__(self, spec: Spec, folder: Path):
        self._spec = spec
        self._has_result = bool(names(folder / "runs", ".nc"))
        self._refused: list[Path] = []

    def __call__(self, outcome: Outcome) -> None:
        """Raise StudyError if the table does not fit the first result, or if no run has one that can be in a cube."""
        if outcome.error is None:
            if not self._has_result:
                check_table(self._spec, outcome.job.result)
            self._has_result = True
        elif outcome.error["name"] == SchemaError.__name__ and not self._has_result:
            self._refused.append(outcome.job.error_record)
            if len(self._refused) == 2:
                self._stop(outcome.error["value"])

    def _stop(self, reason: str) -> None:
        for record in self._refused:  # so that the same command executes them again
            record.unlink(missing_ok=True)
        raise StudyError(
            f"expected results that can go into a cube, got none from the first two runs: {reason}\nThe others were "
            "not started: correct the notebook, then the same command goes on."
        )


def check_table(spec: Spec, result: Path) -> None:
    """Raise StudyError if a spec's table cannot be made of results such as this one."""
    table = spec.table
    if table is None:
        return
    try:
        with xr.open_dataset(result, engine="netcdf4", decode_times=False) as dataset:
            dims = {str(dim): [str(value) for value in dataset[dim].values.tolist()] for dim in dataset.dims}
            variables = {str(name): list(map(str, variable.dims)) for name, variable in dataset.data_vars.items()}
    except (OSError, ValueError):  # a damaged one is told of where it is left out
        return
    dims |= {name: [str(value) for value in axis] for name, axis in spec.grid.items() if name in dims}
    for key, name in [*(("rows", row) for row in table.rows), ("over", table.over)]:
        if name not in dims:
            raise _wrong(f"table.{key}: expected a dim of the results ({listed(dims)})", name, dims)
    for value in table.values:
        name, *coords = value.split(".")
        if name not in variables:
            raise _wrong(f"table.values: expected a variable of the results ({listed(variables)})", name, variables)
        rest = [dim for dim in variables[name] if dim not in (*table.rows, table.over)]
        if len(rest) != len(coords):
            raise _wrong(f"table.values: expected {'.'.join([name, *(f'<{dim}>' for dim in rest)])}", value, ())
        for dim, coord in zip(rest, coords, strict=True):
            if coord not in dims[dim]:
                raise _wrong(f"table.values: expected a {dim} of {listed(dims[dim])} in {value!r}", coord, dims[dim])


def _wrong(message: str, got: str, known: Iterable[str]) -> StudyError:
    return StudyError(
        f"{message}, got {got!r}.{did_you_mean(got, known)} Finished runs are kept: correct the spec, then the same "
        "command goes on."
    )
