"""Whether what every update runs through is compiled; see ``docs/design/0013-compiled-hot-path.md``."""

from __future__ import annotations

import importlib.util


def is_compiled() -> bool:
    """Whether this installation has the compiled modules. Imports none of them."""
    spec = importlib.util.find_spec("sessiondir.writing")
    return spec is not None and not (spec.origin or "").endswith(".py")
