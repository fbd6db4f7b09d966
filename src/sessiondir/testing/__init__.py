"""File systems that fail, stop or lose power, for testing programs that keep their sessions here.

Give one as ``fs`` to ``SessionStore.open``, ``migration.migrate``, ``TranscriptFolder.open`` or
whatever else takes it. All of them work on real files and make real calls; none needs a
process of its own or more rights than the caller's.

=========================  ==================================================================
``WatchedFileSystem``      notes every call and every open descriptor; does not wait for syncs
``FailingFileSystem``      fails the n-th call with a chosen errno, once or for ever
``StoppingFileSystem``     dies in place of the n-th call, or half-way through a write
``PowerLossFileSystem``    tells every state in which a power cut may leave the disk
=========================  ==================================================================
"""

from sessiondir.testing.disk import Rule
from sessiondir.testing.failing import CLOSING, ERRNOS, UNLOCKING, FailingFileSystem
from sessiondir.testing.power import PowerLossFileSystem
from sessiondir.testing.stopping import Stopped, StoppingFileSystem
from sessiondir.testing.trees import Tree, digest, read_tree, write_tree
from sessiondir.testing.watching import WatchedFileSystem

__all__ = [
    "CLOSING",
    "ERRNOS",
    "UNLOCKING",
    "FailingFileSystem",
    "PowerLossFileSystem",
    "Rule",
    "Stopped",
    "StoppingFileSystem",
    "Tree",
    "WatchedFileSystem",
    "digest",
    "read_tree",
    "write_tree",
]
