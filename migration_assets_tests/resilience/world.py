"""A clinic behind real HTTP, the Medplum sandbox, an account; and the law that all three obey.

Belongs here: the rows as the test knows them, lives in this world, and what must hold after an
undisturbed run. Does not belong here: which lives are lived.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from pydantic import SecretStr

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.fhir.references import ConditionalReference, with_references
from migration_assets.manifest import Manifest, State, token
from migration_assets.mapping import Resource
from migration_assets.medplum import MedplumClient
from migration_assets_tests.delivery.clinic import (
    PERSONS,
    PLACES,
    ROOMS,
    STAYS,
    TYPES,
    Living,
    wanted,
)
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.resilience.life import Life, in_version

_PAGE = 3
_NUMBERS = {PLACES: 3, PERSONS: 5, STAYS: 5, ROOMS: 2}


@dataclass
class World:
    """The source's rows by stream and key, and what reads and holds them."""

    source: LegacyServer
    sandbox: Sandbox
    manifest_url: str
    random: Random
    exclusive: bool = False
    version: int = 1
    hours: int = 0
    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    _last: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        for stream, number in _NUMBERS.items():
            self.rows[stream] = {}
            self.source.routes[f"/{stream}"] = partial(self._page, stream)
            for key in range(number):
                self.put(stream, f"{stream[:2]}{key}")

    # -- the source -----------------------------------------------------------------------------

    def put(self, stream: str, key: str) -> None:
        """A row comes or changes; it names only what is there."""
        content: dict[str, Any] = {"id": key, "name": f"n{self.random.randrange(1000)}"}
        if stream == STAYS:
            people = self._living(PERSONS)
            note = self.random.choice(["well", "unwell"])
            content = {"id": key, "person": self.random.choice(people), "note": note}
            content["length"] = self.random.randrange(1, 9)
        elif stream == PERSONS and (places := self._living(PLACES)):
            content["place"] = self.random.choice(places)
        self._write(stream, key, content)

    def delete(self, stream: str, key: str, *, trace: bool) -> None:
        """A row goes, with a tombstone or without a trace; only one that nobody names."""
        if trace:
            gone = self.rows[stream][key] | {"deleted_at": self._tick()}
            self._write(stream, key, gone)
        else:
            del self.rows[stream][key]
            self.source.routes.pop(f"/{stream}/{key}", None)
            self.source.routes[f"/{stream}/{key}"] = lambda _asked: json_reply({}, 404)

    def something_happens(self) -> None:
        """A row comes, changes, goes, or comes back."""
        stream = self.random.choice([PLACES, PERSONS, STAYS, STAYS])
        living = self._living(stream)
        if stream == STAYS and len(living) > 2 and self.random.random() < 0.4:
            self.delete(stream, self.random.choice(living), trace=self.random.random() < 0.5)
        elif self.random.random() < 0.2:
            self.put(stream, f"{stream[:2]}{len(self.rows[stream]) + 10}")
        else:
            self.put(stream, self.random.choice(list(self.rows[stream])))

    def _living(self, stream: str) -> list[str]:
        return [k for k, row in self.rows.get(stream, {}).items() if "deleted_at" not in row]

    def _write(self, stream: str, key: str, content: dict[str, Any]) -> None:
        row = self.rows[stream][key] = {**content, "at": self._tick()}
        self.source.routes[f"/{stream}/{key}"] = lambda _asked: json_reply(row)

    def _tick(self) -> str:
        self._last = max(datetime.now(UTC), self._last + timedelta(milliseconds=1))
        return self._last.isoformat(timespec="milliseconds")

    def _page(self, stream: str, asked: Asked) -> Reply:
        since, after = asked.one("since"), asked.one("after")
        rows = sorted(self.rows[stream].values(), key=lambda each: (each["at"], each["id"]))
        told = [
            each
            for each in rows
            if (not since or datetime.fromisoformat(each["at"]) >= datetime.fromisoformat(since))
            and (not after or f"{each['at']}~{each['id']}" > after)
        ]
        page, more = told[:_PAGE], told[_PAGE:]
        following = ""
        if more:
            last = f"{page[-1]['at']}~{page[-1]['id']}".replace("+", "%2B")
            following = f"{self.source.url}/{stream}?after={last}&since=" + since.replace(
                "+", "%2B"
            )
        return json_reply({"rows": page, "next": following or None})

    # -- lives ----------------------------------------------------------------------------------

    def life(self, act: str, **fate: Any) -> Life:
        """A life in this world, an hour after the last: whoever died holds nothing any more."""
        self.hours += 1
        return Life(
            act=act,
            manifest_url=self.manifest_url,
            source_url=self.source.url,
            medplum_url=self.sandbox.base_url,
            client_id=self.sandbox.client_id,
            secret=self.sandbox.client_secret,
            hours=self.hours,
            exclusive=self.exclusive,
            version=self.version,
            **fate,
        )

    # -- the law --------------------------------------------------------------------------------

    def check(self) -> None:
        """Every row accounted for; exactly its resources in Medplum, as mapped; nothing stuck."""
        expected = self._expected()
        held = self._held()
        lost, surplus = expected.keys() - held.keys(), held.keys() - expected.keys()
        assert not lost, lost
        assert not surplus, surplus

        def literal(to: ConditionalReference) -> str | None:
            name = token(to.resource_type, to.system, to.value)
            return f"{to.resource_type}/{held[name]['id']}" if name in held else None

        for name, resource in expected.items():
            kept = {n: v for n, v in held[name].items() if n not in ("id", "meta")}
            if name.startswith("Location"):  # only ever created: in the version it was made by
                kept["language"] = resource["language"]
                kept["name"] = resource["name"]
            assert kept == with_references(resource, literal), name
        self._check_account(expected, held)

    def _check_account(self, expected: dict[str, Resource], held: dict[str, Resource]) -> None:
        def later() -> datetime:
            return datetime.now(UTC) + timedelta(hours=self.hours)

        manifest = Manifest(self.manifest_url, clock=later)
        try:
            for stream, rows in self.rows.items():
                balance = manifest.balances()[stream]
                states = {s: n for s, n in balance.by_state.items() if n}
                assert balance.holds
                assert not states.keys() & {State.PENDING, State.REJECTED, State.QUARANTINED}
                units = {each.key for each in manifest.landed_units(stream, limit=1000)}
                assert rows.keys() <= units
            assert manifest.tallies.recount() == {}  # what is kept is what is counted
            assert manifest.known_ids(expected) == {n: held[n]["id"] for n in expected}
            for kind in {name.split("|")[0] for name in expected}:
                for name in (kind, f"sweep of {kind}"):
                    with manifest.lease(name, "the next one"):  # nobody died holding it
                        pass
        finally:
            manifest.close()

    def _expected(self) -> dict[str, Resource]:
        names: dict[str, Resource] = {}
        for stream in self.rows:
            for key in self._living(stream):
                row = {n: v for n, v in self.rows[stream][key].items() if n != "at"}
                made = wanted(stream, key, Living(row))
                names |= {n: in_version(each, self.version) for n, each in made.items()}
        return names

    def medplum(self) -> MedplumClient:
        """A client of the test's own."""
        secret = SecretStr(self.sandbox.client_secret)
        return MedplumClient(self.sandbox.base_url, self.sandbox.client_id, secret)

    def search(self) -> list[Resource]:
        """Everything that a search finds."""
        with closing(self.medplum()) as client:
            return [
                r for kinds in TYPES.values() for kind in kinds for r in client.search(kind, {})
            ]

    def _held(self) -> dict[str, Resource]:
        found = self.search()
        doubled = [name for name, n in Counter(map(named, found)).items() if n > 1]
        assert not doubled, doubled
        return {named(each): each for each in found}


def named(resource: Resource) -> str:
    """The token of its one identifier."""
    (identifier,) = resource["identifier"]
    return token(resource["resourceType"], identifier["system"], identifier["value"])


@contextmanager
def world(
    sandbox: Sandbox, manifest_url: str, *, seed: str, exclusive: bool = False
) -> Iterator[World]:
    """A world that begins anew."""
    sandbox.reset()
    with LegacyServer() as source:
        chance = Random(seed)  # noqa: S311 - to be the same again
        yield World(source, sandbox, manifest_url, chance, exclusive)
