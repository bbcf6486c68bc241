"""Real processes that are broken on purpose and held to account; `python -m tests.chaos --help` lists the ways.

- `harness` starts processes, again and again, gives them work, and brings them to rest;
- `faults` does them harm, or their links, clocks and stores;
- `verdict` holds what was promised against what is there in the end;
- `scenarios` makes a run of these three: each is one way to break a federation;
- `load` and `endurance` ask what many agents, and a long life, cost.

A test of one room is in that room; the others, which hold everything to a promise, are here.
"""
