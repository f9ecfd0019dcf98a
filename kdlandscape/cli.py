"""The command line: its commands, and a mistake told in one message."""

import sys
import warnings
from typing import Any, NoReturn

import typer

from kdlandscape.commands.planning import forecast, slurm
from kdlandscape.commands.results import cube, export, figures, report
from kdlandscape.commands.running import compare, retry, run
from kdlandscape.commands.runs import clean, missing, status
from kdlandscape.commands.starting import demo, new
from kdlandscape.sweeps.errors import SpecError, StudyError
from kdlandscape.sweeps.terminal import show

app = typer.Typer(
    help="Optimization landscapes in Jupyter, with knowledge distillation as the first subject.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    *(demo, new, run, compare, retry, forecast, slurm),
    *(status, cube, missing, clean, export, figures, report),
):
    app.command()(command)


def main() -> None:
    """Run the command line; a mistake in a spec, a study or an option is one message, not a traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except (SpecError, StudyError) as error:
        _fail(error)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            _fail(error)
        _fail(f"{error.filename}: expected a file or folder that can be read and written, got: {error.strerror}")
    except ValueError as error:
        from kdlandscape.cubes.seals import DamagedFileError
        from kdlandscape.cubes.store import CubeError
        from kdlandscape.distillation.problem_files import ProblemError
        from kdlandscape.registry import RegistryError

        if not isinstance(error, CubeError | DamagedFileError | ProblemError | RegistryError):
            raise
        _fail(error)


def _fail(message: object) -> NoReturn:
    show(f"error: {message}", sys.stderr)
    sys.exit(2)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    show(f"warning: {message}", sys.stderr)


if __name__ == "__main__":
    main()
