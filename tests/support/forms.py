"""The two forms of the package: interpreted, and with its hot path compiled."""

from __future__ import annotations

import pytest

from sessiondir.compiled import is_compiled

interpreted_only = pytest.mark.skipif(
    is_compiled(), reason="raises at every line of the code under test, which compiled code does not show"
)
