"""Asking Medplum patiently, and knowing what it cost.

Belongs here: searches for whoever compares: counted, and asked again while Medplum says not now.
Does not belong here: what is asked, or what follows. A search changes nothing, so asking again
never harms; a read by id may show what was rolled back (contract §3, ghosts), so none is made.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from migration_assets.errors import Permanent, Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.mapping import Resource
from migration_assets.medplum import Fhir, Pacer, find_by_identifier
from migration_assets.medplum.quota import SEARCH_POINTS
from migration_assets.medplum.walking import ORDER, walk

PAGE = 1_000  # contract §11: the most that one search returns
AT_ONCE = 900
"""Identifiers or ids of one search: duplicates of some still fit into its answer."""
_PATIENCE = 900.0
"""Seconds that Medplum may say not now to one question: an outage longer than that ends the run."""
_BACKOFF = (0.5, 1.0, 2.0, 5.0)


def _unwatched(_resources: int) -> None:
    """Nobody watches."""


@dataclass
class Asker:
    """Searches, counted and repeated; a ``Fhir`` that writes nothing.

    ``watched`` is told of each answer how many resources it held.
    """

    fhir: Fhir
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    patience: float = _PATIENCE
    watched: Callable[[int], None] = _unwatched
    searches: int = field(default=0, init=False)
    pacer: Pacer = field(init=False)

    def __post_init__(self) -> None:
        self.pacer = self.fhir.pacer

    @property
    def points(self) -> int:
        """Quota points spent (contract §8); what was refused cost nothing."""
        return self.searches * SEARCH_POINTS

    def post_bundle(self, _body: bytes, _entries: int) -> list[Resource]:
        """Refuse: comparing changes nothing."""
        raise Permanent("A comparison with Medplum tried to write. Report this as a defect.")

    def transactions_available(self) -> bool:
        """As the project says."""
        return self.fhir.transactions_available()

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[Resource]:
        """The resources a search finds, at most ``PAGE``.

        Raises:
            Transient: Medplum said not now for longer than the patience.
            Permanent: it refused the search for good.
        """
        ends_at = self.clock() + self.patience
        for failures in range(1_000_000):
            try:
                found = self.fhir.search(resource_type, params)
            except Transient as error:
                if self.clock() > ends_at:
                    raise
                self.sleep(error.retry_after or _BACKOFF[min(failures, len(_BACKOFF) - 1)])
            else:
                self.searches += 1
                self.watched(len(found))
                return found
        raise Transient(f"Searching {resource_type} was refused again and again; run it again.")

    def carrying(self, resource_type: str, keys: Iterable[str]) -> dict[str, list[Resource]]:
        """Which resources carry each of the source's keys: 20 points per 900."""
        system = identifier_system(resource_type)
        found = find_by_identifier(self, resource_type, ((system, key) for key in keys))
        return {key: resources for (_system, key), resources in found.items()}

    def with_ids(self, resource_type: str, ids: Iterable[str]) -> Iterator[Resource]:
        """Those of some ids that a search finds: 20 points per 900."""
        listed = list(dict.fromkeys(ids))
        for start in range(0, len(listed), AT_ONCE):
            some = {"_id": ",".join(listed[start : start + AT_ONCE]), "_fields": "identifier"}
            yield from self.search(resource_type, some)

    def everything(
        self, resource_type: str, *, fields: Iterable[str] | None = None
    ) -> Iterator[list[Resource]]:
        """Every resource that carries an identifier of ours, page by page: 20 points per 1,000.

        What commits late may be passed by, and has to be looked for by its identifier before it is
        called missing.
        """
        asked = {**system_query(resource_type)}
        if fields is not None:
            asked["_fields"] = ",".join(sorted({"identifier", *fields}))
        yield from walk(self.search, resource_type, asked, count=PAGE)


def system_query(resource_type: str) -> dict[str, str]:
    """The search for everything under our identifier system, oldest first.

    The bar is needed: without it the system would be taken for a value (contract §11).
    """
    return {
        "identifier": f"{identifier_system(resource_type)}|",
        "_sort": ORDER,
    }
