"""What the tests share: opening stores, other processes, faults, and judging a store from outside."""
