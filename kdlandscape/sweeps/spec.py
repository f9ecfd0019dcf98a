"""The form of a study's description: what a spec may say, and what it was resolved to."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdlandscape.cubes.grid import Grid
from kdlandscape.summary import as_table, count
from kdlandscape.sweeps.axes import Scalar
from kdlandscape.sweeps.errors import SpecError


class Source(BaseModel):
    """Another study whose run files a study's runs read, one each.

    The axes in ``share`` (default: all between the other study's runs) have the same value in both runs; ``at`` fixes
    others.  The notebook gets the path in ``parameter``; the weights are in the file's group ``checkpoints``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    study: str
    share: list[str] | None = None
    at: dict[str, Scalar] = {}
    parameter: str = "checkpoints"


class Table(BaseModel):
    """A table of means: a row for each cell of ``rows``, averaged over one dim, a column for each value."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    rows: list[str]
    over: str = "seed"
    values: list[str]


class Resolved(BaseModel):
    """What a spec meant on the day it was run.

    Attributes
    ----------
    version
        Of the form of this file.
    notebook_path, notebook_from_here, notebook_hash
        The notebook, its path from the study's folder on, and its code.
    lists
        Axes between runs whose parameter takes a list.
    values
        Values along the axes whose coordinates are names.
    spec_hash, source_hash
        The recipe of the runs, and of the study that they take checkpoints from.
    kept
        Earlier recipes, whose runs stay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    notebook_path: str
    notebook_from_here: str = ""
    notebook_hash: str
    lists: list[str] = []
    values: dict[str, list[Any]] = {}
    spec_hash: str
    source_hash: str = ""
    kept: list[str] = []


class Spec(BaseModel):
    """A study: one notebook over a grid of parameters."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    study: str
    notebook: str
    description: str = ""
    parameters: dict[str, Any] = {}
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    vectorize: list[str] = []
    zip: list[list[str]] = []
    exclude: list[dict[str, Any]] = []
    source: Source | None = Field(default=None, alias="from")
    join: Literal["exact", "outer", "pad"] = "exact"
    labels: dict[str, str] = {}
    findings: list[str] = []
    figures: list[str] = []
    table: Table | None = None
    resolved: Resolved | None = None

    def _repr_html_(self) -> str:
        sizes = {name: count(len(values), "value") for name, values in self.grid.items()}
        inner = {name: f"{size}, inside a run" for name, size in sizes.items() if name in self.vectorize}
        fixed = ", ".join(f"{name} = {value!r}" for name, value in self.parameters.items())
        facts = {"question": self.description, "notebook": self.notebook, **sizes, **inner, "fixed": fixed}
        return as_table(f"Study {self.study}", {name: value for name, value in facts.items() if value})

    @property
    def axes(self) -> Grid:
        """The grid with what is vectorized, zipped and excluded."""
        return Grid(self.grid, self.vectorize, self.zip, self.exclude)

    @property
    def facts(self) -> Resolved:
        """What the spec was resolved to."""
        if self.resolved is None:
            raise SpecError("spec: expected one made by load_spec or make_spec, got one that was never checked")
        return self.resolved
