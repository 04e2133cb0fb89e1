"""What the legacy rows are like, and which of their fields a mapping reads: profile and register.

Belongs here: looking at rows (landed, or a sample pulled from the source) and at the mappings, and
telling what was seen as values, a page or a document. Does not belong here: Dagster, changing
anything, or deciding what becomes of a row. What leaves this room are names of fields, counts and
shapes; a value only where ``disclosure`` lets it.
"""
