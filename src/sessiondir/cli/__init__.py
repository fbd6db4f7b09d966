"""The command ``sessiondir``: look at a store, change it by hand, check it, migrate it.

This package is the only place that prints, exits or reads the environment. One module per
command, loaded when the command is called; results go to standard output, everything else
to standard error.
"""

from __future__ import annotations

from sessiondir.cli.app import main

__all__ = ["main"]
