"""What was changed in Medplum since the last look: edits, new resources, deletions.

Belongs here: which of what Medplum shows is news, and whose. Does not belong here: what becomes of
it (``settling_back``), or SQL (``manifest.write_backs``).

A resource is news if its version is not the one on account: our own writes are on account, so
nothing echoes. The mark is Medplum's own time of the newest version seen; a look begins a while
before it, and what is seen again is no second debt, so a version that committed late is not missed.
A deletion shows in no search by time: what ought to be there is looked for by id, and believed to
be gone when its history says so.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.reading import own_key
from migration_assets.manifest import Manifest, token
from migration_assets.manifest.write_back_owners import Owned
from migration_assets.manifest.write_backs import Seen
from migration_assets.mapping import Mapping, Resource
from migration_assets.medplum import Fhir, Member
from migration_assets.medplum.changes import changed_since, updated_at
from migration_assets.medplum.history import Version, read_histories
from migration_assets.medplum.looking import Looker, version_of

LOOKBACK = timedelta(minutes=5)
"""Far longer than Medplum takes to commit: its statements end after a minute (contract §12)."""
_AT_ONCE = 900
_REMEMBERED = 500
"""Changes of phase of a type that are looked through; its cohorts each have theirs."""
_ALL = ""  # no version is called that: a history is read to its end


@dataclass(frozen=True)
class Watch:
    """One type that is watched. ``flip`` is when Medplum became its owner."""

    manifest: Manifest
    fhir: Fhir
    looker: Looker
    mapping: Mapping[Any]
    resource_type: str
    flip: datetime
    dry: bool = False
    """Whether the mark stays where it is."""

    def news(self, *, deletions: bool) -> Iterator[list[Seen]]:
        """What is not on account yet, in pieces; each is to be written down before the next."""
        newest = begin = self._begin()
        for page in changed_since(self.fhir, self.looker, self.resource_type, begin - LOOKBACK):
            yield self._edits(page)
            newest = max(newest, *(_moment(updated_at(each)) for each in page))
            self._move(newest)
        if deletions:
            for owned in self._missing():
                yield self._gone(owned)

    def _begin(self) -> datetime:
        with self.manifest.ledger(_mark_name(self.resource_type)) as page:
            return self.flip if page.text is None else datetime.fromisoformat(page.text)

    def _move(self, newest: datetime) -> None:
        if self.dry:
            return
        with self.manifest.ledger(_mark_name(self.resource_type)) as page:
            page.write(newest.isoformat())

    def _edits(self, page: list[Resource]) -> list[Seen]:
        owners = self._owners(page)
        news = [
            each
            for each in page
            if (owned := owners.get(str(each["id"]))) is None
            or owned.target.version_id != version_of(each)
        ]
        wanted = {
            (self.resource_type, str(each["id"])): _known_version(owners.get(str(each["id"])))
            for each in news
        }
        histories = read_histories(self.fhir, self.looker, wanted)
        return [
            self._seen(each, owners.get(str(each["id"])), histories[kind, fhir_id])
            for each, (kind, fhir_id) in zip(news, wanted, strict=True)
        ]

    def _owners(self, page: list[Resource]) -> dict[str, Owned]:
        """By id: whose resource each is. One whose identifier was taken away is still its own."""
        system = identifier_system(self.resource_type)
        tokens = {
            token(self.resource_type, system, key): str(each["id"])
            for each in page
            if (key := own_key(each)) is not None
        }
        by_token = self.manifest.write_backs.owners.by_token(tokens)
        found = {
            tokens[name]: each
            for name, each in by_token.items()
            if each.target.fhir_id == tokens[name]
        }
        left = [str(each["id"]) for each in page if str(each["id"]) not in found]
        return found | self.manifest.write_backs.owners.by_id(self.resource_type, left)

    def _seen(self, resource: Resource, owned: Owned | None, history: list[Version]) -> Seen:
        common: dict[str, Any] = {
            "fhir_id": str(resource["id"]),
            "version_id": version_of(resource) or "",
            "versions": _evidence(history, _known_version(owned)),
        }
        if owned is not None:
            return Seen(
                **common,
                kind="change",
                unit_id=owned.unit_id,
                token=owned.target.token,
                key=owned.key,
            )
        return Seen(**common, kind="create")

    def _missing(self) -> Iterator[list[Owned]]:
        """Resources on account that no search shows."""
        after = 0
        while some := self.manifest.write_backs.owners.living(
            self.resource_type, after=after, limit=_AT_ONCE
        ):
            after = some[-1].number
            members = [named(each) for each in some]
            held = self.looker.held(members)
            if absent := [each for each in some if each.target.fhir_id not in held]:
                yield absent

    def _gone(self, absent: Iterable[Owned]) -> list[Seen]:
        """Those of them whose history ends with a deletion; others are only hidden from us."""
        by_id = {str(each.target.fhir_id): each for each in absent}
        wanted = {
            (self.resource_type, fhir_id): each.target.version_id for fhir_id, each in by_id.items()
        }
        histories = read_histories(self.fhir, self.looker, wanted)
        seen: list[Seen] = []
        for (_kind, fhir_id), history in histories.items():
            owned = by_id[fhir_id]
            if not history or history[0].resource is not None:
                continue
            last = next((each.version_id for each in history if each.version_id), "")
            seen.append(
                Seen(
                    fhir_id=fhir_id,
                    version_id=str(last),
                    kind="delete",
                    unit_id=owned.unit_id,
                    token=owned.target.token,
                    key=owned.key,
                    versions=_evidence(history, owned.target.version_id),
                )
            )
        return seen


def flip_of(manifest: Manifest, mapping: Mapping[Any], since: datetime | None) -> datetime:
    """When Medplum became the owner of a mapping's types, as far as it is on account.

    Of types with cohorts: of the first of those it owns now. What people wrote in that one before
    the next was flipped is to be seen as well.

    Raises:
        Permanent: nobody knows; what was made in Medplum before it is not to be told from after.
    """
    if since is not None:
        return since
    changes = manifest.switching.changes(mapping.resource_type, limit=_REMEMBERED)
    applied = [(each, each.applied_at) for each in changes if each.applied_at is not None]
    flips = [at for each, at in applied if each.becomes == "write"]
    last = {each.cohort: (each, at) for each, at in reversed(applied)}
    owned = [at for each, at in last.values() if each.becomes == "write"]
    if not flips:
        raise Permanent(
            f"{mapping.resource_type} cannot be written back: when Medplum became its owner is not "
            "on account, because `migration phase` did not move it. Name the moment with --since."
        )
    return min(owned, default=max(flips))


def named(owned: Owned) -> Member:
    """A resource on account under its id, for a look."""
    kind, system, value = owned.target.token.split("|", 2)
    return Member(kind, system, value, None, owned.target.fhir_id)


def written_back_before(manifest: Manifest, resource_type: str) -> bool:
    """Whether changes of a type were ever looked for."""
    with manifest.ledger(_mark_name(resource_type)) as page:
        return page.text is not None


def earliest(seen: Iterable[MappingOf[str, Any]]) -> datetime | None:
    """When the first version of an evidence was written."""
    moments = [_moment(str(each["at"])) for each in seen if each.get("at")]
    return min(moments, default=None)


def _mark_name(resource_type: str) -> str:
    return f"write-back {resource_type}"


def _known_version(owned: Owned | None) -> str | None:
    return _ALL if owned is None else owned.target.version_id


def _evidence(history: list[Version], known: str | None) -> list[dict[str, Any]]:
    """Versions newer than the known one, newest first: which, when and by whom; no content."""
    found: list[dict[str, Any]] = []
    for each in history:
        if known and each.version_id == known:
            break
        meta = (each.resource or {}).get("meta") or {}
        entry = {
            "version": each.version_id,
            "at": meta.get("lastUpdated"),
            "by": (meta.get("author") or {}).get("reference"),
        }
        found.append({name: value for name, value in entry.items() if value})
    return found


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
