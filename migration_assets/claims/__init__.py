"""What is claimed of a type, and what mends it where it does not hold.

Belongs here: verdicts, with their reasons and the command that helps; gates that stop what rests on
a type. Does not belong here: Dagster's checks (``defs.checks``), which ask for them.
"""
