"""``python -m sessiondir`` is the command ``sessiondir``."""

from __future__ import annotations

from sessiondir.cli import main

if __name__ == "__main__":
    main(prog_name="python -m sessiondir")
