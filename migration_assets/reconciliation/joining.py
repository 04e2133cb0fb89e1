"""What a search found beside what the account says of it.

Belongs here: from a resource to its tokens, and to the account's word on them. Does not belong
here: judging it.
"""

from collections.abc import Iterable, Iterator

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, token
from migration_assets.manifest.reconciliations import Held
from migration_assets.mapping import Resource


def tokens(resource: Resource, resource_type: str) -> Iterator[str]:
    """The tokens by which a resource is known to us: usually one."""
    system = identifier_system(resource_type)
    for each in resource.get("identifier") or ():
        value = str(each.get("value") or "").strip()
        if each.get("system") == system and value:
            yield token(resource_type, system, value)


def beside_account(
    manifest: Manifest, resource_type: str, page: Iterable[Resource]
) -> list[tuple[str, Held | None, Resource]]:
    """Each resource under each of its tokens, with what is on account of that."""
    carriers = [(name, each) for each in page for name in tokens(each, resource_type)]
    account = manifest.reconciliations.held(name for name, _resource in carriers)
    return [(name, account.get(name), resource) for name, resource in carriers]


def is_on_account(held: Held | None, resource: Resource) -> bool:
    """Whether this very resource is the one the account means."""
    return held is not None and held.live and held.fhir_id == resource["id"]
