"""Dataset in, matplotlib axes out: each function is named after what it draws.

Every public name is imported on first use; the names are in the stub beside this file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
