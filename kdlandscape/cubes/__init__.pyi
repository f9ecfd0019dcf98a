from .chains import convergence
from .spectra import density, effective_dimension
from .statistics import mean_sem, t_interval
from .store import first_done, missing, open_cube, read_checkpoints
from .tables import format_table
from .topology import plane_basins
from .variables import dataset, placed, variable

__all__ = [
    "convergence",
    "dataset",
    "density",
    "effective_dimension",
    "first_done",
    "format_table",
    "mean_sem",
    "missing",
    "open_cube",
    "placed",
    "plane_basins",
    "read_checkpoints",
    "t_interval",
    "variable",
]
