from .places import studies_root
from .spec import load_spec
from .study import run_study

__all__ = [
    "load_spec",
    "run_study",
    "studies_root",
]
