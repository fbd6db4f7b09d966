"""The corpus: small files, one input each, in ``corpus/<target>/``.

What a fuzzer found worth keeping is named by its SHA-1, as the fuzzer names it; inputs that
broke something carry a name that says what.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent / "corpus"


def inputs(target: str) -> dict[str, bytes]:
    """The inputs of a target by name."""
    return {path.name: path.read_bytes() for path in sorted((ROOT / target).iterdir())}
