"""What people do to an account: undo, redeliver, remap, rehearse, repair, purge.

Belongs here: operations that somebody asks for, each an attempt or a decision on account like any
other. Does not belong here: a run's own steps (``steps``), or how they are asked for (``cli``,
``defs``).
"""
