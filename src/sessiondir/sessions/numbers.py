"""Phone numbers as WhatsApp addresses them."""

from __future__ import annotations

import re

from sessiondir.layout import js_trim

_NOT_DIALLED = re.compile("[^0-9+]")


def phone_number(value: object) -> str:
    """``+`` and digits; ``"+"`` if there are none, and for what is not text.

    A ``whatsapp:`` prefix goes. Further plus signs and the digits of a device suffix stay, as
    the legacy program leaves them.
    """
    text = value if isinstance(value, str) else ""
    digits = _NOT_DIALLED.sub("", js_trim(text.removeprefix("whatsapp:")))
    return digits if digits.startswith("+") else f"+{digits}"
