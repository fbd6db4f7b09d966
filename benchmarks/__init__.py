"""Measurements of sessiondir beside other stores: ``python -m benchmarks`` from the project root.

From the bottom to the top; imports go down only:

    entries place machine stats text    data, where to measure, facts, arithmetic, tables
    stores                              sessiondir and its competitors behind one interface
    workers tasks counting              processes that work at once; system calls and bytes
    parts                               one module a workload: ``measure`` and ``render``
    aims report plots documents         what came out of it, for people
"""
