"""What a cube says in sentences, by the findings that a spec names; and what findings share."""

from collections.abc import Callable, Iterator, Sequence

import xarray as xr

from kdlandscape.cubes.schema import DONE
from kdlandscape.cubes.store import missing
from kdlandscape.cubes.words import cell_words
from kdlandscape.registry import RegistryError, load
from kdlandscape.studies.decisions import LEAST_SEEDS, NOT_TESTABLE

_LISTED = 3  # missing runs that a sentence names


def say(cube: xr.Dataset, names: Sequence[str]) -> list[str]:
    """Return the sentences of the named findings; a finding that cannot be taken from this cube says why.

    A text that begins with spaces holds the numbers that the sentence before it rests on. A last sentence says which
    runs are missing, if any: findings use what is complete.

    Parameters
    ----------
    cube
        Of a study.
    names
        Registered findings, of this package or another; see `kdlandscape.registry`.

    Raises
    ------
    RegistryError
        If a finding is unknown, cannot be loaded, or returns something else than a list of texts.
    """
    said: list[str] = []
    for name in names:
        finding = load("findings", name)
        try:
            found = finding(cube)
        except Exception as error:  # one finding, perhaps of another package, does not cost the others
            said.append(f"finding {name} cannot be taken from this cube: {type(error).__name__}: {error}")
            continue
        if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
            raise RegistryError(f"findings: expected a list of sentences from {name!r}, got {found!r}")
        said += found
    return said + _unfinished(cube) if said else said


def with_grounds(said: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each sentence with the lines that it rests on: those behind it that begin with spaces."""
    found: list[tuple[str, list[str]]] = []
    for line in said:
        if line.startswith("  ") and found:
            found[-1][1].append(line.strip())
        else:
            found.append((line, []))
    return found


def _unfinished(cube: xr.Dataset) -> list[str]:
    """Say how many runs of a study are missing, and name the first of them."""
    holes = missing(cube) if DONE in cube else []
    if not holes:
        return []
    named = "; ".join(cell_words(cube, hole) or "the only one" for hole in holes[:_LISTED])
    number = f"{len(holes)} run is" if len(holes) == 1 else f"{len(holes)} runs are"
    return [f"not finished: {number} missing ({named}{'; …' if len(holes) > _LISTED else ''})."]


def require(cube: xr.Dataset, variables: Sequence[str], dims: Sequence[str] = ()) -> None:
    """Raise ValueError, naming what is missing, unless a cube has the variables, and the first of them the dims."""
    missing = [name for name in variables if name not in cube]
    if missing:
        raise ValueError(f"expected the variables {', '.join(variables)}; {', '.join(missing)} missing")
    absent = [dim for dim in dims if dim not in cube[variables[0]].dims]
    if absent:
        raise ValueError(f"expected {variables[0]} over the dims {', '.join(dims)}; {', '.join(absent)} missing")


def cells(data: xr.Dataset, kept: Sequence[str]) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield each cell of all dims but the kept ones: in words such as "network = mlp, λ = 0.5", and its part."""
    dims = [str(dim) for dim in data.dims if dim not in kept]
    if not dims:
        yield "", data
        return
    stacked = data.stack(cell=dims)
    for i, key in enumerate(stacked["cell"].values.tolist()):
        yield cell_words(data, dict(zip(dims, key, strict=True))), stacked.isel(cell=i)


def of_each_cell(
    data: xr.Dataset, kept: Sequence[str], sentences: Callable[[xr.Dataset], list[str]], whole: str = ""
) -> list[str]:
    """Return the sentences of each of the `cells`, after the cell's own words; ``whole`` stands where there is one."""
    return [
        f"{where or whole}: {sentence}" if where or whole else sentence
        for where, cell in cells(data, kept)
        for sentence in sentences(cell)
    ]


def unmet(values: xr.DataArray, below: float, words: str) -> str:
    """Return why nothing can be decided, unless a number is below a bound in every run that is done, and these suffice.

    Parameters
    ----------
    values
        The number over seeds; NaN where a run is not done.
    below, words
        The bound, and what holds where the number is below it.
    """
    done, met = int(values.notnull().sum()), int((values < below).sum())
    if met == done >= LEAST_SEEDS:
        return ""
    return f"{NOT_TESTABLE}: {words} in {met} of {done} runs, a verdict needs all of them and at least {LEAST_SEEDS}"


def interval_in_words(found: xr.Dataset, form: str) -> str:
    """Return mean and interval of `kdlandscape.cubes.statistics.t_interval`, each in a form such as ``{:.2f}``."""
    mean, low, high = (form.format(float(found[name])) for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
