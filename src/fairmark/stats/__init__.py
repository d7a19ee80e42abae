"""Statistics on plain arrays: this room knows arrays, `results` and `errors`, and serves any tool's numbers.

`__init__.pyi` says what it offers. Each method is read from the disk when somebody first asks for it: all of them together
take longer to read than a small study takes to analyse.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
