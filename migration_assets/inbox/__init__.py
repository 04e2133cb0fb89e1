"""The inbox: what services send of their own accord is on account before they are told so.

tokens      who may send, and what
reading     from a request to an event: rows of a stream, read as the puller reads them
app         the HTTP interface
serving     the server: where it listens, and its life
sending     ``send_event``, for services in Python
outbox      an event in the service's own transaction, forwarded until it is taken

Belongs here: the door for dual writes (issue "Dual write"; docs/dual-write.md). Does not belong
here: what becomes of an event once it landed: that is a unit like any other, and ``pipeline``
delivers it. What services import (``sending``, ``outbox``) needs neither a server nor a manifest.
"""

from migration_assets.inbox.outbox import Outbox
from migration_assets.inbox.sending import Refused, Unsent, send_event

__all__ = ["Outbox", "Refused", "Unsent", "send_event"]
