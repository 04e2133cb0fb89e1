"""The balance per FHIR type, from the account alone.

Belongs here: streams → types, and the law as a table. Does not belong here: asking Medplum.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migration_assets.fhir.sent import sent_stream
from migration_assets.manifest import Balance, Exceptions, Manifest, State
from migration_assets.mapping import Mapping

if TYPE_CHECKING:
    import pandas as pd

_NOTHING = Balance(0, dict.fromkeys(State, 0))


@dataclass(frozen=True)
class TypeBalance:
    """The balance of one type.

    ``within`` names the type whose rows it is written from, if not its own: its numbers are then
    part of that type's, counted again from another side.
    """

    resource_type: str
    balance: Balance
    within: str | None = None

    def as_numbers(self) -> dict[str, int]:
        """Eligible and every state, in the order of the law."""
        order = (
            State.MIGRATED, State.UNCHANGED, State.SKIPPED, State.REJECTED, State.QUARANTINED,
            State.PENDING,
        )  # fmt: skip
        return {"eligible": self.balance.eligible} | {
            each.value: self.balance.by_state[each] for each in order
        }


def type_balances(manifest: Manifest, mappings: Iterable[Mapping[Any]]) -> list[TypeBalance]:
    """The balance of every mapped type, in load order; a group's further types follow its first."""
    by_stream = manifest.balances()
    made: list[TypeBalance] = []
    for mapping in mappings:
        made.append(TypeBalance(mapping.resource_type, by_stream.get(mapping.stream, _NOTHING)))
        made += [
            TypeBalance(each, manifest.tallies.of_type(each, mapping.stream), mapping.resource_type)
            for each in mapping.related
        ]
    return made


def sent_balances(manifest: Manifest, mappings: Iterable[Mapping[Any]]) -> list[TypeBalance]:
    """The balance of what services sent as FHIR, by stream: units of their own."""
    by_stream = manifest.balances()
    streams = [sent_stream(kind) for each in mappings for kind in each.types]
    return [TypeBalance(each, by_stream[each]) for each in streams if each in by_stream]


def exceptions_by_type(
    manifest: Manifest, mappings: Iterable[Mapping[Any]]
) -> list[tuple[str, Exceptions]]:
    """Why units were quarantined, rejected or skipped, with the type they should have become."""
    types = {each.stream: each.resource_type for each in mappings}
    return [(types.get(each.stream, each.stream), each) for each in manifest.exceptions()]


def balance_frame(balances: Iterable[TypeBalance]) -> "pd.DataFrame":
    """The balance as a data frame, a row per type: for notebooks and further sums."""
    import pandas as pd  # noqa: PLC0415 - 0.7 s of import that the CLI need not wait for

    rows = [{"type": each.resource_type, **each.as_numbers()} for each in balances]
    return pd.DataFrame(rows).set_index("type") if rows else pd.DataFrame()
