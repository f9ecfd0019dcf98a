"""How a study is run, as opposed to what: limits, workers, shards; checked before anything is written."""

import math
from typing import Any

from kdlandscape.nearest import listed
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.plan import shard_of


def check_options(
    *, workers: Any, time_limit: Any, cell_limit: Any, shard: Any, progress: Any, scheduler: Any, changed: Any
) -> None:
    """Raise SpecError for an option that `kdlandscape.run_study` cannot go by."""
    for name, seconds in (("time_limit", time_limit), ("cell_limit", cell_limit)):
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and math.isfinite(seconds) and seconds > 0):
            raise SpecError(f"{name}: expected a number of seconds above 0, got {seconds!r}; leave it out for no limit")
    if workers is not None and (type(workers) is not int or workers < 1):
        raise SpecError(f"workers: expected a number of processes from 1 on, got {workers!r}")
    if scheduler is not None and (not isinstance(scheduler, str) or not scheduler.strip()):
        raise SpecError(f"scheduler: expected an address such as tls://host:8786, or 'dask', got {scheduler!r}")
    for name, value, choices in (
        ("progress", progress, (True, False, "json")),
        ("changed", changed, (None, "keep", "rerun")),
    ):
        if value not in choices:
            raise SpecError(f"{name}: expected one of {listed(map(repr, choices))}, got {value!r}")
    shard_of([], shard)
