from .loading import load_spec
from .places import studies_root
from .study import run_study

__all__ = [
    "load_spec",
    "run_study",
    "studies_root",
]
