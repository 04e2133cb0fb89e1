"""The law, whatever happens and wherever a run is cut off: no record lost, doubled or guessed at.

Hypothesis changes, deletes, restores and skips rows, lets identifiers move and collide, and cuts
runs off at any call into the account or Medplum, before or after it took effect. Then quiet runs
follow, and Medplum must hold, by search, just what the mappings make of the living rows.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import ConditionalReference, reference, with_references
from migration_assets.manifest import Manifest, State, token
from migration_assets.mapping import Mapping as FhirMapping
from migration_assets.mapping import Related, Resource, Row, Skip, Step
from migration_assets.medplum import Deliverer, MedplumClient
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.delivery.cut_off import LOST_ANSWER, Crash, Doom, Mortal, MortalFhir
from migration_assets_tests.scripted import START, ScriptedSource

SECRET = "invented"
EXAMPLES = int(os.environ.get("MIGRATION_MACHINE_EXAMPLES", "50"))
ORGANIZATION, VISIT = "organizations", "visits"
KEYS = ("A", "B")
IDENTIFIERS = ("A", "B", "C")
TYPES = ("Organization", "Encounter", "ClinicalImpression")
QUIET_RUNS = 4  # an identifier freed in one run is taken over in the next; a chain has three


class Unit(Row):
    """An organization with an identifier that may move, perhaps part of another."""

    id: str
    name: str
    identifier: str
    parent: str | None = None
    left_out: bool = False


class Visit(Row):
    """An encounter at an organization, with a note or without."""

    id: str
    place: str | None = None
    note: str | None = None
    left_out: bool = False


def _identified(kind: str, value: str) -> Resource:
    return {
        "resourceType": kind,
        "identifier": [{"system": identifier_system(kind), "value": value}],
    }


def _organization(row: Unit) -> Resource | Skip:
    if row.left_out:
        return Skip("left-out")
    made = {**_identified("Organization", row.identifier), "name": row.name}
    return {**made, "partOf": reference("Organization", row.parent)} if row.parent else made


def _visit(row: Visit) -> Resource | Related | Skip:
    if row.left_out:
        return Skip("left-out")
    act = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
    encounter = {**_identified("Encounter", row.id), "status": "finished", "class": act}
    if row.place:
        encounter["serviceProvider"] = reference("Organization", row.place)
    if row.note is None:
        return encounter
    note = {
        **_identified("ClinicalImpression", row.id),
        "status": "completed",
        "subject": {"display": "somebody"},
        "encounter": reference("Encounter", row.id),
        "summary": row.note,
    }
    return Related((encounter, note))


ORGANIZATIONS: FhirMapping[Any] = FhirMapping(
    stream=ORGANIZATION,
    row=Unit,
    resource_type="Organization",
    build=_organization,
    version="1",
    step=Step.ORGANIZATIONS,
)
VISITS: FhirMapping[Any] = FhirMapping(
    stream=VISIT,
    row=Visit,
    resource_type="Encounter",
    build=_visit,
    version="1",
    step=Step.HISTORY,
    after=("Organization",),
    related=("ClinicalImpression",),
)
ADOPTION = {
    "shared": 'Organization = "backfill"\nEncounter = "backfill"',
    "exclusive": "".join(
        f'[{each}]\nphase = "backfill"\nstrategy = "exclusive"\n'
        for each in ("Organization", "Encounter")
    ),
}


@dataclass
class World:
    """The living rows as the test knows them."""

    living: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    former: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # tokens a row ever had

    def made(self, stream: str, key: str) -> tuple[Resource, ...]:
        """What the mapping makes of a living row."""
        mapping = ORGANIZATIONS if stream == ORGANIZATION else VISITS
        built = mapping.build(mapping.row.model_validate(self.living[stream, key]))
        if isinstance(built, Skip):
            return ()
        return built.resources if isinstance(built, Related) else (built,)


def _token(resource: Resource) -> str:
    (identifier,) = resource["identifier"]
    return token(resource["resourceType"], identifier["system"], identifier["value"])


_ORGANIZATION_ROWS = st.fixed_dictionaries(
    {
        "name": st.sampled_from("xyz"),
        "identifier": st.sampled_from([*["own"] * 6, *IDENTIFIERS]),
        "parent": st.sampled_from([*[None] * 6, *IDENTIFIERS]),
        "left_out": st.sampled_from([*[False] * 6, True]),
    }
)
_VISIT_ROWS = st.fixed_dictionaries(
    {
        "place": st.sampled_from([None, *KEYS, *KEYS, "C"]),
        "note": st.sampled_from([None, "well", "unwell"]),
        "left_out": st.sampled_from([*[False] * 6, True]),
    }
)
CHANGES = st.one_of(
    st.tuples(st.just(ORGANIZATION), st.sampled_from(KEYS), _ORGANIZATION_ROWS),
    st.tuples(st.just(VISIT), st.sampled_from(KEYS), _VISIT_ROWS),
    st.tuples(st.sampled_from([ORGANIZATION, VISIT]), st.sampled_from(KEYS), st.none()),
)
DOOMS = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(
            ["post_bundle", LOST_ANSWER, "settle", "intend", "search", "land", "former_ids"]
        ),
        st.integers(1, 3),
        st.booleans(),
    ),
)
STRATEGIES = st.sampled_from(["shared", "exclusive"])
WHOLE = st.booleans()


class Migration(RuleBasedStateMachine):
    """Rows change between runs; runs are cut off; the law holds in the end."""

    sandbox: ClassVar[Sandbox]

    def __init__(self) -> None:
        super().__init__()
        self.sandbox.reset()
        self.client = MedplumClient(
            self.sandbox.base_url, self.sandbox.client_id, SecretStr(SECRET)
        )
        self.folder = Path(mkdtemp())  # no finalizer that would complain in another test
        self.seconds = count(1)
        self.now = datetime(2026, 11, 15, tzinfo=UTC)
        self.manifest = Manifest(blank_file(self.folder / "manifest.db"), clock=lambda: self.now)
        self.source = ScriptedSource(page_size=2)
        self.source.rows = {ORGANIZATION: [], VISIT: []}
        self.world = World()
        for key in KEYS:
            self._put(ORGANIZATION, key, {"name": "x", "identifier": "own", "parent": None})
            self._put(VISIT, key, {"place": key, "note": "well"})
        self._run(Doom(), "exclusive", whole=True)

    def teardown(self) -> None:
        """The quiet end, and the law."""
        try:
            for _ in range(QUIET_RUNS):
                self._run(Doom(), "shared", whole=True)
            self._check()
        finally:
            self.manifest.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- the source -----------------------------------------------------------------------------

    def _put(self, stream: str, key: str, content: dict[str, Any]) -> None:
        if stream == ORGANIZATION:
            own = key if content["identifier"] == "own" else content["identifier"]
            parent = None if content["parent"] == own else content["parent"]
            content = {**content, "identifier": own, "parent": parent}
        self.source.put(stream, key, at=self._tick(), **content)
        self.world.living[stream, key] = {"id": key, **content}
        held = self.world.former.setdefault((stream, key), set())
        held.update(_token(each) for each in self.world.made(stream, key))

    def _change(self, stream: str, key: str, content: dict[str, Any] | None) -> None:
        if content is not None:
            self._put(stream, key, content)
        else:  # deleted at the source, whether or not it was ever seen
            self.world.living.pop((stream, key), None)
            self.source.delete(stream, key, at=self._tick())

    def _tick(self) -> int:
        """The next second by the source's clock: a mark far ahead of all rows would hide them."""
        second = next(self.seconds)
        self.source.now = START + timedelta(seconds=second)
        return second

    # -- runs -----------------------------------------------------------------------------------

    def _run(self, doom: Doom, strategy: str, *, whole: bool) -> None:
        self.now += timedelta(hours=1)  # a dead run's lease is stale by then
        number = self.manifest.start_run("test", pipeline_version="0")
        run = Run(
            id=number,
            label=f"run-{number}",
            manifest=Mortal(self.manifest, doom),  # type: ignore[arg-type]  # stands before it
            puller=self.source,
            adoption=read_adoption(ADOPTION[strategy]),
            fhir=MortalFhir(self.client, doom),
            deadline_seconds=30,
            new_deliverer=partial(Deliverer, sleep=lambda _seconds: None),
        )
        for mapping in (ORGANIZATIONS, VISITS):
            mark = None if whole else self.manifest.high_water_mark(mapping.stream)
            land(run, mapping, Window(mark, None, way=Way.BACKFILL if whole else Way.INCREMENTAL))
            migrate(run, mapping)

    @rule(
        changes=st.lists(CHANGES, min_size=1, max_size=2),
        doom=DOOMS,
        strategy=STRATEGIES,
        whole=WHOLE,
    )
    def changes_and_a_run(
        self,
        changes: list[tuple[str, str, dict[str, Any] | None]],
        doom: tuple[str, int, bool] | None,
        strategy: str,
        whole: bool,
    ) -> None:
        """Rows come, change, go or come back; then a run, which may be cut off."""
        for stream, key, content in changes:
            self._change(stream, key, content)
        try:
            self._run(Doom(*doom) if doom else Doom(), strategy, whole=whole)
        except Crash:
            assert all(each.holds for each in self.manifest.balances().values())
            assert self.manifest.tallies.recount() == {}

    # -- the law --------------------------------------------------------------------------------

    def _held(self) -> dict[str, Resource]:
        found = [each for kind in TYPES for each in self.client.search(kind, {})]
        doubled = [name for name, n in Counter(map(_token, found)).items() if n > 1]
        assert not doubled
        return {_token(each): each for each in found}

    def _clean(self) -> dict[str, tuple[tuple[str, str], Resource]]:
        """What must be in Medplum: claimed by one row, all it refers to likewise."""
        claims: dict[str, list[tuple[tuple[str, str], Resource]]] = {}
        for row in self.world.living:
            for resource in self.world.made(*row):
                claims.setdefault(_token(resource), []).append((row, resource))
        clean = {name: each[0] for name, each in claims.items() if len(each) == 1}
        owner = self.manifest.owners(clean)
        units = {
            (stream, each.key): each.id
            for stream in (ORGANIZATION, VISIT)
            for each in self.manifest.landed_units(stream, limit=100)
        }
        by_unit = {number: row for row, number in units.items()}
        for name, (row, _resource) in list(clean.items()):
            # Rows that hold each other's identifiers are for a person to look at.
            other = by_unit.get(owner.get(name, units[row]))
            if other != row and other in self.world.living:
                del clean[name]
        found: set[str] = set()  # whatever is reached without leaving what is clean, no circle
        while True:
            more = {
                name
                for name, (row, _resource) in clean.items()
                if name not in found and self._outward(row) <= found
            }
            if not more:
                return {name: clean[name] for name in found}
            found |= more

    def _outward(self, row: tuple[str, str]) -> set[str]:
        content = self.world.living[row]
        other = content.get("parent") or content.get("place")
        return {token("Organization", identifier_system("Organization"), other)} if other else set()

    def _check(self) -> None:
        held, clean = self._held(), self._clean()

        def literal(wanted: ConditionalReference) -> str | None:
            name = token(wanted.resource_type, wanted.system, wanted.value)
            return f"{wanted.resource_type}/{held[name]['id']}" if name in held else None

        for name, (row, resource) in clean.items():
            assert name in held, f"{row} is lost"
            kept = {n: v for n, v in held[name].items() if n not in ("id", "meta")}
            assert kept == with_references(resource, literal), row
        rows = {row for row, _resource in clean.values()}
        explained = {
            name
            for row, names in self.world.former.items()
            if row in self.world.living and row not in rows and self.world.made(*row)
            for name in names
        }
        assert held.keys() - clean.keys() <= explained
        for balance in self.manifest.balances().values():
            assert balance.holds
            assert balance.by_state[State.PENDING] == 0
            assert balance.by_state[State.REJECTED] == 0
        assert self.manifest.tallies.recount() == {}


@pytest.fixture(scope="module")
def machine() -> Iterator[type[Migration]]:
    """The machine, on a sandbox of its own."""
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
        client_secret=SECRET,
        quota_per_minute=100_000_000,
    ) as sandbox:
        Migration.sandbox = sandbox
        yield Migration


@pytest.mark.timeout(600 + 5 * EXAMPLES)
def test_no_record_is_lost_doubled_or_guessed_at_wherever_a_run_is_cut_off(
    machine: type[Migration],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=10,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


def _organization_row(name: str, identifier: str = "own", *, left_out: bool = False) -> Any:
    return {"name": name, "identifier": identifier, "parent": None, "left_out": left_out}


A_TWICE = [_organization_row("y"), _organization_row("z")]
STORIES: dict[str, list[tuple[str, dict[str, Any] | None]]] = {
    "a change whose answer was lost, and then another": [("A", each) for each in A_TWICE],
    "a deletion, and the row comes back": [("A", None), ("A", _organization_row("x"))],
    "left out by a rule, and the row comes back": [
        ("A", _organization_row("x", left_out=True)),
        ("A", _organization_row("x")),
    ],
    "an identifier freed by one row and taken over by another": [
        ("A", None),
        ("B", _organization_row("y", "A")),
    ],
    "an identifier that was about to move when the run died, and did not": [
        ("A", _organization_row("x", "C")),
        ("A", _organization_row("x")),
        ("B", _organization_row("x", "C")),
    ],
}


@pytest.mark.parametrize("doom", ["quiet", "before", "after"])
@pytest.mark.parametrize("story", STORIES)
def test_a_story_ends_well_although_each_of_its_runs_was_cut_off(
    machine: type[Migration], story: str, doom: str
) -> None:
    """Each was once lost, doubled, left behind, or taken for somebody else's edit."""
    migration = machine()
    for key, content in STORIES[story]:
        migration.changes_and_a_run(
            [(ORGANIZATION, key, content)],
            None if doom == "quiet" else ("post_bundle", 1, doom == "after"),
            "exclusive",
            whole=False,
        )
    migration.teardown()
