"""Terminology: local codes and their standard codings, as data.

Belongs here: the concept maps (``maps/*.csv``), their one reader, and codes looked up in them.
Does not belong here: a default. A code that no map knows is ``Unmapped``, a value that every
mapping must face.
"""

from migration_assets.terminology.back import local_code, local_concept
from migration_assets.terminology.codes import code, coding, concept
from migration_assets.terminology.concept_map import (
    ConceptMap,
    Translation,
    Unmapped,
    concept_map,
    load,
    lookups,
)

__all__ = [
    "ConceptMap",
    "Translation",
    "Unmapped",
    "code",
    "coding",
    "concept",
    "concept_map",
    "load",
    "local_code",
    "local_concept",
    "lookups",
]
