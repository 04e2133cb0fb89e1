"""The throws that more than one kind of demo row is made with.

Belongs here: chance, and values that take more than a choice from a list. Does not belong here: the
lists (``invented_values``) or the rows.
"""

from random import Random

from migration_assets.demo.clinic_store import instant

_SECONDS = len("2024-01-31T10:00:00")


def chance(random: Random, share: float) -> bool:
    """True in ``share`` of all throws."""
    return random.random() < share


def phone(random: Random) -> str:
    """A number of the range that is kept free for fiction."""
    return f"+1-555-01{random.randrange(100):02}"


def day(moment: int) -> str:
    """The date of a moment in milliseconds since 1970."""
    return instant(moment)[:10]


def second(moment: int) -> str:
    """A moment in milliseconds since 1970 to the second, as the clinic writes instants."""
    return instant(moment)[:_SECONDS] + "Z"
