"""The tables of the account. Their history is in ``migrations/``; this is how they stand now.

Belongs here: table definitions and what each column means. Does not belong here: queries.
Times are UTC microseconds since 1970 in a BIGINT: the same on SQLite and PostgreSQL, comparable,
and a third of the size of an ISO text. State and reason codes are short texts, not enums, so that
a new one needs no schema change.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only gives rowid speed and autoincrement to a column declared INTEGER.
BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("label", sa.Text, nullable=False),  # the Dagster run id, or the CLI verb
    sa.Column("pipeline_version", sa.Text, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
)

units = sa.Table(
    "units",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # pending, or a disposition
    sa.Column("revision", sa.Integer, nullable=False),  # +1 with each changed content
    sa.Column("row_hash", sa.LargeBinary(16), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),  # compressed JSON, the row as it came
    sa.Column("changed_at", sa.BigInteger),  # by the source's cursor field
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("field", sa.Text),
    sa.Column("awaiting", sa.Text),  # token of the target this unit waits for
    sa.Column("mapping_version", sa.Text),
    sa.Column("landed_at", sa.BigInteger, nullable=False),
    sa.Column("seen_run", sa.BigInteger, nullable=False),  # last run in which the source served it
    sa.Column("settled_at", sa.BigInteger),
    sa.Column("settled_run", sa.BigInteger),
    sa.UniqueConstraint("stream", "key"),
)
sa.Index("ix_units_stream_state_id", units.c.stream, units.c.state, units.c.id)
sa.Index(
    "ix_units_awaiting",
    units.c.awaiting,
    sqlite_where=units.c.awaiting.is_not(None),
    postgresql_where=units.c.awaiting.is_not(None),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("unit_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("resource_type", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False, unique=True),  # type|system|value
    sa.Column("fhir_id", sa.Text),  # None: intended, not yet confirmed
    sa.Column("version_id", sa.Text),
    sa.Column("fingerprint", sa.Text),  # of the content Medplum last confirmed
    sa.Column("sent", sa.Text),  # prints of what was sent since, each after a blank
    sa.Column("former_id", sa.Text),  # under which it was deleted, while it is intended again
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("confirmed_at", sa.BigInteger),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("unit_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),  # POST, PUT, DELETE
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("entry", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),  # created, changed, unchanged, deleted, or failed
    sa.Column("outcome", sa.Text),  # issue code, never its text
    sa.Column("fhir_id", sa.Text),
    sa.Column("version_id", sa.Text),
)

marks = sa.Table(
    "marks",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("watermark", sa.BigInteger, nullable=False),
    sa.Column("moved_at", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.BigInteger, nullable=False),
)

windows = sa.Table(
    "windows",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("pulled_at", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.BigInteger, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("renewed_at", sa.BigInteger, nullable=False),
)
