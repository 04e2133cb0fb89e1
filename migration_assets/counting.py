"""How many of what, in words: one row, two rows.

Belongs here: numbers with their nouns, as claims and commands tell them. Does not belong here:
verdicts.
"""


def several(number: int, noun: str, plural: str = "") -> str:
    """``1 row``, ``1,000 rows``; ``plural`` for a noun that takes no s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def of_several(number: int, total: int, noun: str, plural: str = "") -> str:
    """``1 of 1 row``, ``0 of 12 rows``: the noun goes with the total."""
    return f"{number:,} of {several(total, noun, plural)}"


def verb(number: int, one: str, more: str) -> str:
    """``is`` or ``are``."""
    return one if number == 1 else more
