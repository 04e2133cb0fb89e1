"""What a legacy source looks like, as data: a YAML file becomes frozen, checked values.

shape           the frozen model, references to secrets, small field types
authentication  who we are to the source
paging          how an answer is cut into pages
change_time     how a row says when it changed and how changes are asked for
queue           feeds that show what changed until it is marked as read
http            patience, limits, statuses, where links may lead
stream, source  one kind of row; the whole API
loading         from a file, with one error that names field and reason, never the value
problems        validation errors as such sentences

Belongs here: what can be said and checked without a request. Does not belong here: anything that
opens the environment, a socket or a clock. There is no expression language on purpose: dotted
paths and templates with ``{value}`` only. Whatever they cannot say is a named Python plug-in.
"""

from migration_assets.legacy.description.change_time import Cursor
from migration_assets.legacy.description.http import Http, Limit
from migration_assets.legacy.description.loading import load_description
from migration_assets.legacy.description.shape import EnvironmentReference
from migration_assets.legacy.description.source import Source
from migration_assets.legacy.description.stream import Stream, Tombstone

__all__ = [
    "Cursor",
    "EnvironmentReference",
    "Http",
    "Limit",
    "Source",
    "Stream",
    "Tombstone",
    "load_description",
]
