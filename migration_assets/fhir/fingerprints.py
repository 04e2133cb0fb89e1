"""Fingerprints: whether a resource is what it was.

Belongs here: one canonical form of FHIR JSON and its hash. Does not belong here: deciding what
follows from a change (``preparation``, ``reconciliation``).
"""

from hashlib import blake2b

import orjson

from migration_assets.mapping import Resource


def canonical_json(resource: Resource) -> bytes:
    """The resource as JSON with sorted keys and no blanks: equal content gives equal bytes.

    Raises:
        TypeError: it holds what is not JSON: a lone surrogate or an integer beyond 64 bits
            (``validation`` finds these first).
    """
    return orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)


def fingerprint(resource: Resource) -> str:
    """32 hex characters that change when any content of the resource does."""
    return blake2b(canonical_json(resource), digest_size=16).hexdigest()
