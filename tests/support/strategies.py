"""Random values for property tests: JSON of every kind, keys, documents."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sessiondir import InvalidKey, layout

QUICK = settings(
    deadline=None,
    database=None,
    max_examples=150,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
"""Text with anything in it, lone surrogates and controls included."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False, allow_infinity=False),
    any_text,
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
entries: st.SearchStrategy[dict[str, Any]] = st.dictionaries(any_text, values, max_size=5)


def _is_key(text: str) -> bool:
    try:
        layout.normalise_key(text, "exact")
    except InvalidKey:
        return False
    return True


keys = (
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
    | st.text('aA:/"\\é😀', min_size=1, max_size=8)
    | st.integers(115, 125).map(lambda size: "k" * size)
).filter(_is_key)
