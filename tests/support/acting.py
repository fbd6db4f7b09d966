"""A file system that acts once, inside a chosen call: another process, a signal or a fault at that moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.watched import QuickFs

Chooser = Callable[..., bool]


class ActingFs(QuickFs):
    """Runs ``act`` once, before or after the first call of that name that ``when`` chooses by its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.acted = False
        self._plan: tuple[str, Chooser, Callable[[], object], bool] | None = None

    def before(self, name: str, act: Callable[[], object], when: Chooser = lambda *args: True) -> None:
        """Act before the call; what ``act`` raises the call raises, without having done anything."""
        self.acted, self._plan = False, (name, when, act, False)

    def after(self, name: str, act: Callable[[], object], when: Chooser = lambda *args: True) -> None:
        """Act when the call was done; what ``act`` raises the call raises."""
        self.acted, self._plan = False, (name, when, act, True)

    def call(self, name: str, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        plan = self._plan
        if plan is None or plan[0] != name or not plan[1](*args):
            return super().call(name, real, args, kwargs)
        self._plan, self.acted = None, True
        if not plan[3]:
            plan[2]()
        result = super().call(name, real, args, kwargs)
        if plan[3]:
            plan[2]()
        return result


def raising(error: BaseException) -> Callable[[], None]:
    """What raises ``error``."""

    def act() -> None:
        raise error

    return act
