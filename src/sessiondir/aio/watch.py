"""Waiting for changes in a task."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType

from sessiondir.aio.workers import Workers
from sessiondir.clock import Clock
from sessiondir.core import Core
from sessiondir.errors import StoreClosed, translated
from sessiondir.model import Change
from sessiondir.watch import POLL_S, ChangeReader, Quiet


class AsyncWatch:
    """Changes as they come, of any process: ``async for change in store.watch()``.

    It takes no lock. Between changes it keeps one descriptor of the journal, which goes with
    the last reference, with the handle, or with ``aclose``. For one task at a time.
    """

    def __init__(
        self,
        find_core: Callable[[], Awaitable[Core | None]],
        is_open: Callable[[], bool],
        workers: Workers,
        clock: Clock,
        since: int | None,
        key: str | None,
        timeout_s: float | None,
    ) -> None:
        self._find_core = find_core
        self._is_open = is_open
        self._workers = workers
        self._clock = clock
        self._since = since
        self._key = key
        self._quiet = Quiet(clock, timeout_s)
        self._found: deque[Change] = deque()
        self._reader: ChangeReader | None = None
        self._ended = False

    def __aiter__(self) -> AsyncWatch:
        return self

    async def __aenter__(self) -> AsyncWatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Change:
        if self._found:
            self._quiet.start()
            return self._found.popleft()
        try:
            await self._wait()
        except Exception:
            await self.aclose()
            if self._is_open():
                raise
            # Closed meanwhile: that is how it ends.
        if not self._found:
            await self.aclose()
            raise StopAsyncIteration
        self._quiet.start()
        return self._found.popleft()

    async def _wait(self) -> None:
        """Return with something found, or when there is nothing more to wait for."""
        while not self._ended and self._is_open():
            if self._reader is None:
                await self._begin()
            elif self._reader.has_news():
                # To the end even if cancelled: what was read is kept for the next call.
                await self._workers.finish(self._read)
            if self._found or self._quiet.is_over():
                return
            await self._clock.pause(POLL_S)

    async def _begin(self) -> None:
        core = await self._find_core()
        if core is None:
            return
        await self._workers.finish(lambda: self._open(core))

    def _open(self, core: Core) -> None:
        self._reader = ChangeReader(core, self._since)
        self._key = core.ref(self._key).key if self._key is not None else None
        self._read()

    def _read(self) -> None:
        reader = self._reader
        assert reader is not None
        with translated(reader.path, "read"):
            found = reader.read()
        self._found.extend(change for change in found if self._key in (None, change.key))

    async def aclose(self) -> None:
        """Stop watching; the next call ends the iteration."""
        self._ended = True
        self._found.clear()
        reader, self._reader = self._reader, None
        if reader is None:
            return
        try:
            # The last descriptor of a finished journal takes megabytes with it.
            self._workers.submit(reader.close)
        except StoreClosed:
            reader.close()
