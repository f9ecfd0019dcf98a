from .places import studies_root
from .study import run_study

__all__ = [
    "run_study",
    "studies_root",
]
