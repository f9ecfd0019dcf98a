"""Where a run belongs in the grid of its study."""

from collections.abc import Sequence
from dataclasses import replace

from kdlandscape.cubes.grid import Grid
from kdlandscape.cubes.runfile import RunFile
from kdlandscape.cubes.schema import RUN


def cell_of(run: RunFile, grid: Grid, recipes: Sequence[str]) -> tuple[str, list[int]]:
    """Return a run's index along each outer axis, or the reason why it has no place in the grid."""
    recipe = run.attrs.get(f"{RUN}recipe")
    if recipe is None or not set(run.variables) - run.coords:
        return "expected a run file written by record(), got another netCDF file; it is left out", []
    if recipe not in recipes:
        return (
            f"expected a run of recipe {' or '.join(recipes)} (spec.yaml: notebook code and fixed parameters), got "
            f"recipe {recipe}; one cube holds one recipe, so move this file to its own study; it is left out"
        ), []
    cell = []
    for name in grid.dims:
        values, outer = grid.values[name], name in grid.outer
        own = run.variables[name].values.tolist() if name in run.variables else None
        fits = own is not None and (len(own) == 1 and own[0] in grid.positions[name] if outer else own == values)
        if not fits:
            return f"expected {name} to be {'one of ' * outer}{values}, got {own}; it is left out", []
        if own is not None and outer:
            cell.append(grid.positions[name][own[0]])
    places = dict(zip(grid.outer, cell, strict=True))
    for name, dim in grid.along.items():
        expected = grid.values[name][places[dim]]
        own = run.variables[name].values.tolist() if name in run.variables else None
        if own != [expected]:
            return f"expected {name} to be {expected} at {dim} {grid.values[dim][places[dim]]}, got {own}", []
    return "", cell


def in_order(run: RunFile, grid: Grid) -> RunFile:
    """Return a run with the grid's order of values along the axes inside it; a spec may name them in another one."""
    variables = run.variables
    for name in [name for name in grid.vectorize if name in variables]:
        own, values = variables[name].values.tolist(), grid.values[name]
        if own != values and len(own) == len(values) and set(own) == set(values):
            order = [own.index(value) for value in values]
            variables = {
                key: replace(array, values=array.values.take(order, axis=array.dims.index(name)))
                if name in array.dims
                else array
                for key, array in variables.items()
            }
    return replace(run, variables=variables)
