"""``AsyncSessionStore``: the store for asyncio programs. The event loop never waits.

Every call first tries to do its work at once, on the loop: a cached session, a commit
with ``durability="process"`` that nothing stands in the way of. What could take long goes
to the store's own threads. ``docs/design/0006-async.md`` has the measurements behind this.
"""

from sessiondir.aio.leasing import AsyncLease
from sessiondir.aio.store import AsyncSessionStore
from sessiondir.aio.transaction import AsyncEdit, AsyncTransaction
from sessiondir.aio.watch import AsyncWatch

__all__ = ["AsyncEdit", "AsyncLease", "AsyncSessionStore", "AsyncTransaction", "AsyncWatch"]
