"""A real process is killed, stopped, starved of disk and cut off from its database; the law holds.

Belongs here: what only a process of its own can show. Does not belong here: crashes that can be
made inside the test's process, in every combination (``test_crash_machine``, ``delivery``).
"""
