"""Arguments that several commands take: the annotations that typer reads, and those that come together as a group."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdlandscape.sweeps.errors import SpecError

if TYPE_CHECKING:
    from kdlandscape.sweeps.spec import Spec

Study = Annotated[str, typer.Argument(help="A study's folder, or its name under the root.", metavar="STUDY")]
SpecName = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")]
Parameter = Annotated[list[str], typer.Option("-p", metavar="NAME=VALUE", help="Override a fixed parameter.")]
Grid = Annotated[list[str], typer.Option("-g", metavar="NAME=V1,V2", help="Override or add an axis.")]
StudyName = Annotated[str | None, typer.Option("--study", help="Another name for the study.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, list the runs, execute nothing.")]
Root = Annotated[str | None, typer.Option(help="Folder of studies; default: papermill_runs.", show_default=False)]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one a core.", show_default=False)]
TimeLimit = Annotated[float | None, typer.Option(help="Seconds after which a run is stopped.", show_default=False)]
CellLimit = Annotated[float | None, typer.Option(help="Seconds after which a cell is stopped.", show_default=False)]
Warm = Annotated[bool, typer.Option("--warm", help="Fork kernels from a process that has done the imports.")]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Every N-th run from the I-th on, counted from 0 or from 1.", show_default=False),
]
Scheduler = Annotated[str | None, typer.Option(metavar="tls://…", help="Address of a Dask scheduler.")]
Dask = Annotated[bool, typer.Option("--dask", help="Start a Dask cluster on this machine.")]
Changed = Annotated[
    str | None,
    typer.Option(
        metavar="keep|rerun",
        help="What to do with finished runs whose code or files have changed since.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object a line instead of text.")]


@dataclass(frozen=True)
class Overrides:
    """What a user changes in a spec."""

    parameters: Parameter = field(default_factory=list)
    grid: Grid = field(default_factory=list)
    study: StudyName = None

    def load(self, spec: str, *, study: str | None = None, given: dict[str, Any] | None = None) -> "Spec":
        """Return the checked spec; ``study`` names it where the user does not."""
        from kdlandscape.sweeps.loading import load_spec

        name = study if self.study is None else self.study
        return load_spec(spec, self.parameters, self.grid, study=name, given=given)


@dataclass(frozen=True)
class Execution:
    """How the runs of any study are executed."""

    workers: Workers = None
    root: Root = None
    time_limit: TimeLimit = None
    changed: Changed = None
    json: Json = False

    def options(self) -> dict[str, Any]:
        """Return what `kdlandscape.sweeps.options.check_options` checks."""
        options = {"workers": self.workers, "time_limit": self.time_limit, "cell_limit": None, "changed": self.changed}
        return options | {"shard": None, "scheduler": None, "progress": "json" if self.json else True}


@dataclass(frozen=True)
class GridExecution(Execution):
    """How the runs of a whole grid are executed: in parts, on clusters, in kernels that are forked."""

    cell_limit: CellLimit = None
    warm: Warm = False
    shard: Shard = None
    scheduler: Scheduler = None
    dask: Dask = False

    def options(self) -> dict[str, Any]:
        """Return what `kdlandscape.sweeps.options.check_options` checks.

        Raises
        ------
        SpecError
            For two schedulers.
        """
        if self.dask and self.scheduler is not None:
            raise SpecError(f"scheduler: expected --dask or the address of a scheduler, got both ({self.scheduler})")
        scheduler = "dask" if self.dask else self.scheduler
        return super().options() | {"cell_limit": self.cell_limit, "shard": self.shard, "scheduler": scheduler}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer, where each field of a group (a dataclass) is an argument of its own."""
    groups: dict[str, Any] = {}
    flat = []
    for parameter in inspect.signature(command).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            flat += [_argument(one) for one in fields(parameter.annotation)]
        else:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def call(**given: Any) -> None:
        made = {
            name: group(**{one.name: given.pop(one.name) for one in fields(group)}) for name, group in groups.items()
        }
        command(**given, **made)

    call.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return call


def _argument(one: Field) -> inspect.Parameter:
    default = one.default if one.default_factory is MISSING else one.default_factory()
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=one.type)
