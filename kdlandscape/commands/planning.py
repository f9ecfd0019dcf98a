"""Commands for a study that will take long: how long, and on which jobs of a cluster."""

from typing import Annotated

import typer

from kdlandscape.commands.arguments import Overrides, Root, SpecName, Warm, Workers, grouped
from kdlandscape.sweeps.terminal import show


@grouped
def forecast(
    spec: SpecName, overrides: Overrides, workers: Workers = None, root: Root = None, warm: Warm = False
) -> None:
    """Say how long the missing runs of a study will take, from a short trial; once they are done, what they took.

    The trial executes some runs with the first steps of each training only. Nothing of it stays but the forecast.

    Example: kdlandscape forecast demo --workers 2
    """
    from kdlandscape.sweeps.forecast import take_forecast

    checked = overrides.load(spec)
    show(f"{checked.study}: {take_forecast(checked, workers=workers, root=root, warm=warm).said()}")


@grouped
def slurm(
    spec: SpecName,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs of the array, which share the runs.")],
    overrides: Overrides,
    root: Root = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores of one job.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of one job.")] = 0,
    time: Annotated[str, typer.Option(help="Limit of one job, as SLURM writes it.")] = "01:00:00",
) -> None:
    """Print a script for sbatch that runs a study as a job array.

    Example: kdlandscape slurm demo --jobs 4 --gpus 1 --time 00:30:00
    """
    from kdlandscape.sweeps.slurm import slurm_script

    show(slurm_script(spec, jobs, **vars(overrides), root=root, cores=cores, gpus=gpus, time=time).rstrip())
