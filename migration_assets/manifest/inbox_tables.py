"""The tables of the inbox: the events that services sent, and which units they landed in.

Belongs here: their definition. Does not belong here: the account itself (``schema``), or queries.
What an event held is in its units, and nowhere else: ``print`` is a hash of it, masked with a key.
"""

import sqlalchemy as sa

from migration_assets.manifest.schema import BigId, metadata

inbox_events = sa.Table(  # appended; an event is known by its service and key for ever
    "inbox_events",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("service", sa.Text, nullable=False),  # the name of the token it was sent with
    sa.Column("event", sa.Text, nullable=False),  # its Idempotency-Key
    sa.Column("print", sa.LargeBinary(21), nullable=False),  # of what was sent; masked: 21 bytes
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("new", sa.Integer, nullable=False),  # how its rows landed, as a page's do
    sa.Column("changed", sa.Integer, nullable=False),
    sa.Column("same", sa.Integer, nullable=False),
    sa.Column("stale", sa.Integer, nullable=False),
    sa.Column("quarantined", sa.Integer, nullable=False),
    sa.UniqueConstraint("service", "event"),
)

inbox_rows = sa.Table(  # the units an event told something of
    "inbox_rows",
    metadata,
    sa.Column("event_id", sa.BigInteger, primary_key=True),
    sa.Column("unit_id", sa.BigInteger, primary_key=True, index=True),
    sa.Column("revision", sa.Integer, nullable=False),  # of the unit, once the event had landed
)
