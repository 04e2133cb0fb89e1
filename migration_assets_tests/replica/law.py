"""The law: what the account owes the source, as sentences about what is wrong.

Belongs here: comparing both. Does not belong here: when it must hold (the machine says it).
"""

from collections.abc import Iterator

from migration_assets_tests.replica.account import Account
from migration_assets_tests.replica.clinic import Clinic


def losses(account: Account, clinic: Clinic) -> list[str]:
    """What a cursor shows and the account does not have after a quiet run."""
    return [said for key, said in _differences(account, clinic) if key not in clinic.silent]


def differences(account: Account, clinic: Clinic) -> list[str]:
    """Whatever differs; after a quiet run and its sweeps there is nothing."""
    return [said for _, said in _differences(account, clinic)]


def inventions(account: Account, clinic: Clinic) -> list[str]:
    """What the account holds and the source never had."""
    return [
        f"{key} holds what never was"
        for key, held in account.held().items()
        if not held.contents <= clinic.history.get(key, set())
    ]


def _differences(account: Account, clinic: Clinic) -> Iterator[tuple[int, str]]:
    found = account.held()
    for key, row in clinic.rows.items():
        held = found.get(key)
        if row.deleted:
            if held is not None and not (held.deleted or held.disputed):
                yield key, f"{key} lives on"
        elif held is None:
            yield key, f"{key} is lost"
        elif held.deleted and not held.disputed:
            yield key, f"{key} is taken for deleted"
        elif row.content not in held.contents:
            yield key, f"{key} is stale"
