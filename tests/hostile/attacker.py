"""A racing process: ``python -m hostile.attacker STORE OUTSIDE TARGET LURE ROUNDS SEED SECONDS``.

Swaps one part of a store for a lure and back, so many times, as fast as it can, with pauses of
random length between; then says how often it did, and ends. What it leaves is the store as it was.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from hostile.lures import LURES, exchange, find, twin


def main() -> None:
    """Do what the command line says."""
    store, outside = Path(sys.argv[1]), Path(sys.argv[2])
    target, kind, rounds = sys.argv[3], sys.argv[4], int(sys.argv[5])
    rng = random.Random(sys.argv[6])
    done = 0
    with tempfile.TemporaryDirectory(dir=store.parent) as folder:
        # Some parts are there for microseconds only; what was not met by then will not be.
        end = time.monotonic() + float(sys.argv[7])
        number = 0
        while done < rounds and time.monotonic() < end:
            number += 1
            path = find(store, target)
            if path is None:
                continue
            lure = Path(folder) / str(number)
            LURES[kind](lure, twin(outside, store, path))
            swapped = exchange(lure, path)
            time.sleep(rng.random() * rng.choice([1e-5, 1e-4, 2e-3]))
            if swapped:
                exchange(lure, path)
                done += 1
                time.sleep(rng.random() * 1e-3)  # the victim has to get somewhere, too
    os.write(1, b"%d\n" % done)


if __name__ == "__main__":
    main()
