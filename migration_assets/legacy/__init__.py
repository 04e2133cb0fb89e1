"""Pulls rows from a legacy REST API. Knows no FHIR, no SQL and no Dagster.

description/  what a source looks like, as data
environment   the variables a description names
origins       where a URL leads and where we may go
transport     where a request may go, and what may go with it
attempts      the tries of one request, and what each came to
session       what holds for every request
deadlines     nothing on a socket outlasts the answer's deadline
body, waits   bounds and parses an answer; paces retries
auth          credentials
budgets       client-side limits
failures      what a try without an answer means
pagers, walk  which page comes next
placement     parameters into a query or a JSON body
reading       one window, page by page, guarded against endless paging
completeness  what shows that a reading brought every row
passes        a window, read again where a reading may have missed one
timestamps    change times, read strictly and sent to the API's tick
rows          from JSON to PulledRow
splitting     windows in pieces that the source can answer
plugins       pagers, credentials and decoders in Python, by name
details       whole rows where a list shows parts, with a cache
lookup        one row by its key, to learn whether it is gone
writing       one row read as it lies, and written back
queues        feeds that show what changed until it is marked as read
parents       rows that are asked for parent by parent
pull          the Puller: what a pull is made of
asking_otherwise  a description changed for one run: page size, clinical range, patience
record_dates  the clinical date of a row
inspection    what one page shows of a stream: order, ties, zone, size, total, clocks
suspicions    what it shows against the description
drafting/     a description from an OpenAPI document

Belongs here: getting every row there is, exactly as it was sent, and saying which ones cannot be
trusted. Does not belong here: deciding what changed, the high-water mark, stable keys for rows
without one (``manifest``, ``pipeline``).
"""

from migration_assets.legacy.description import Source, Stream, load_description
from migration_assets.legacy.details import DetailCache
from migration_assets.legacy.pull import PulledPage, Puller
from migration_assets.legacy.rows import PulledRow
from migration_assets.legacy.sighting import Presence, Sighting

__all__ = [
    "DetailCache",
    "Presence",
    "PulledPage",
    "PulledRow",
    "Puller",
    "Sighting",
    "Source",
    "Stream",
    "load_description",
]
