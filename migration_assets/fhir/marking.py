"""The marker: one constant tag on everything that was migrated, for whoever wants to tell it apart.

Belongs here: putting it on. Does not belong here: whether an installation wants one (``settings``).

It lets Subscriptions be narrowed to what people write, and migrated resources be found by
``_tag``. A constant makes no new version on a later run; a run's number or time would (contract
§2). Taking it on, changing it or leaving it out changes the content, and so the fingerprint, of
everything: each resource is written once more, when its row is next looked at.
"""

from migration_assets.mapping import Resource


def marked(resource: Resource, marker: tuple[str, str]) -> Resource:
    """The resource with the tag beside those it has."""
    system, code = marker
    meta = dict(resource.get("meta") or {})
    tags = [each for each in meta.get("tag") or () if each != {"system": system, "code": code}]
    return {**resource, "meta": {**meta, "tag": [*tags, {"system": system, "code": code}]}}
