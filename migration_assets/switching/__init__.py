"""The controlled change of authority: what proves a phase's exit gate, and what follows from it.

Belongs here: reading evidence, the audit of dual writes, changing a phase, publishing flags. Does
not belong here: what a gate asks for (``adoption``), or SQL (``manifest.switching``).
"""
