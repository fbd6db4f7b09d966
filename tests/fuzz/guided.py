"""One target under atheris: ``python -m fuzz.guided TARGET [libFuzzer options] [corpus...]``."""

from __future__ import annotations

import contextlib
import logging
import sys

import atheris

with atheris.instrument_imports(include=["sessiondir"]):
    from fuzz.targets import TARGETS, Refused


def main() -> None:
    """Hand the command line to libFuzzer."""
    logging.disable()
    target = TARGETS[sys.argv[1]]

    def once(data: bytes) -> None:
        with contextlib.suppress(Refused):
            target(data)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
