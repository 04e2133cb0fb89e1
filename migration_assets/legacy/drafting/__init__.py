"""Drafts a source description from an OpenAPI document: what it proves, and what a person decides.

documents    from bytes to a document; its own references followed, others reported
fetching     a document behind a URL, with the guards of every other request
parameters   what an operation takes, in both spellings
words        names taken apart: ``updatedAt``, ``updated_at[gte]``, ``patients``
schemas      what a row or an answer holds, as flat fields
listings     the paths that list rows
naming       what streams are called, and whose keys they take
keys         which field is a row's key
paging       how the next page is asked for
ordering     what rows are sorted by, where a parameter says it
change_time  how changes are asked for
credentials  who we are to the source, from its security schemes
places       the base URL
parents      whose keys a stream takes, and whether they are the right kind
streams      one listing as a stream that loads, or a line to complete
rendering    the YAML text
draft        all of it, in order

Belongs here: reading what a document says. Does not belong here: guessing. Where a document does
not say enough, the draft takes the side that loses nothing (no cursor: everything is read every
time) and a ``# decide:`` line says what would be lost if the other side were taken wrongly.
Nothing of a document's examples or descriptions is repeated: they may be about real people.
"""

from migration_assets.legacy.drafting.documents import read_document
from migration_assets.legacy.drafting.draft import Draft, draft
from migration_assets.legacy.drafting.fetching import fetch_document, is_url

__all__ = ["Draft", "draft", "fetch_document", "is_url", "read_document"]
