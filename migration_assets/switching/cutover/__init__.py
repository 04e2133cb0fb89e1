"""One cutover: from a frozen legacy system to a retired one, step by step, with its evidence.

plan            the words: steps, what a look may come to, what is declared before it begins
progress        where it stands, from the looks that were taken
desk            what it works with; ``asking``: whether anything changed
freezing, draining, verifying, flipping, observing, retiring   the steps
rolling_back    back to the legacy system, with what was written after the flip
runbook         their order: begin, advance, abort

Belongs here: what is looked at, what follows, and that nothing is done twice. Does not belong here:
the legacy system's own lock, which people turn; changing a phase (``changing``); SQL.

No step waits: one that must says for what and since when, and whoever comes next looks again. All
that a look found is on account before the next step begins, so that a cutover may be cut off
anywhere; what was cut off is done again and finds what it had done.
"""
