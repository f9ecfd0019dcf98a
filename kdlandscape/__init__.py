"""Optimization landscapes in Jupyter, with knowledge distillation as the first subject.

Every public name is imported on first use, so that opening a cube never imports torch; the names are in the stub beside
this file.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
