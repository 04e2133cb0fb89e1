"""The tables of the account. Their history is in ``migrations/``; this is how they stand now.

Belongs here: table definitions and what each column means. Does not belong here: queries.
Times are UTC microseconds since 1970 in a BIGINT: the same on SQLite and PostgreSQL, comparable,
and a third of the size of an ISO text. State and reason codes are short texts, not enums, so that
a new one needs no schema change.

Where patient data is at rest, column by column (``sealing`` says what a key protects):

- ``units.payload`` is the row, in full; only its last version, and none once it is purged;
- ``bot_answers.answer`` is what a Bot made of a row, with the row's hash: compressed and sealed as
  the payload is, dropped with it, and at each rotation;
- ``units.row_hash``, ``targets.fingerprint``, ``targets.sent``, ``likenesses.print`` and
  ``inbox_events.print`` are computed from content and could be guessed at: with a key set they are
  masked;
- keys and identifiers name a person without telling anything of them, and stand in the clear:
  ``units.key`` and ``merged_into``, ``parents.parent``, the tokens (type|system|key) in
  ``targets.token``, ``attempts.token`` and ``units.awaiting``; so do Medplum's ids and versions;
- ``units.reason`` and ``field``, and those of ``decisions``: our codes and element paths; row
  models name no element after a value. ``attempts.outcome`` is an issue code, never its text;
- ``decisions.note``, ``owner``, ``approver``, and ``pauses.note``: what people write. The command
  asks them for no patient data; nothing checks it, nothing seals it;
- the rest is times, counts, numbers of runs, labels and policies.

Undoing keeps no content: it asks Medplum's history. Dead letters are units, in the same columns.
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
    sa.Column("row_hash", sa.LargeBinary(16), nullable=False),  # masked: 21 bytes
    sa.Column("payload", sa.LargeBinary, nullable=False),  # the row as it came; empty: purged
    sa.Column("changed_at", sa.BigInteger),  # by the source's cursor field
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("merged_into", sa.Text),  # key of the row that stands for this one now
    sa.Column("reason", sa.Text),
    sa.Column("field", sa.Text),
    sa.Column("awaiting", sa.Text),  # token of the target this unit waits for
    sa.Column("mapping_version", sa.Text),
    sa.Column("landed_at", sa.BigInteger, nullable=False),
    sa.Column("seen_run", sa.BigInteger, nullable=False),  # last run in which the source served it
    sa.Column("seen_sweep", sa.BigInteger),  # last sweep in which the source served it
    sa.Column("missed", sa.Integer, nullable=False, server_default=sa.text("0")),  # by sweeps since
    sa.Column("settled_at", sa.BigInteger),
    sa.Column("settled_run", sa.BigInteger),
    sa.UniqueConstraint("stream", "key"),
)
sa.Index("ix_units_stream_state_id", units.c.stream, units.c.state, units.c.id)
sa.Index(
    "ix_units_exceptions",
    units.c.stream,
    units.c.state,
    units.c.reason,
    units.c.field,
    units.c.id,
    sqlite_where=units.c.reason.is_not(None),
    postgresql_where=units.c.reason.is_not(None),
)
sa.Index(
    "ix_units_exceptions_run",
    units.c.settled_run,
    units.c.seen_run,
    sqlite_where=units.c.reason.is_not(None),
    postgresql_where=units.c.reason.is_not(None),
)
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
    sa.Column("former_id", sa.Text),  # under which it was deleted, or others were linked to it
    sa.Column("overwrites", sa.Text),  # version of an edit that a person lets us write over
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("confirmed_at", sa.BigInteger),
    sa.Column("as_of", sa.BigInteger),  # when what was confirmed had changed (``Unit.as_of``)
)

sa.Index(
    "ix_targets_former_id",
    targets.c.former_id,
    sqlite_where=targets.c.former_id.is_not(None),
    postgresql_where=targets.c.former_id.is_not(None),
)

borrowed = sa.Table(  # ids that others were linked to when nobody on account owned the resource
    "borrowed",
    metadata,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("fhir_id", sa.Text, primary_key=True),
)

moved = sa.Table(  # resources under another id now, until the units of a stream are linked again
    "moved",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("token", sa.Text, primary_key=True),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("unit_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("run_id", sa.BigInteger, nullable=False, index=True),
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

decisions = sa.Table(  # appended only; the newest that says something of a matter counts
    "decisions",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("unit_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),  # of the unit, as it stood then
    sa.Column("state", sa.Text, nullable=False),  # likewise
    sa.Column("reason", sa.Text),  # likewise
    sa.Column("field", sa.Text),  # likewise
    sa.Column("decided_at", sa.BigInteger, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("note", sa.Text),
    sa.Column("choice", sa.Text),  # fix, redeliver, accept, defer
    sa.Column("approver", sa.Text),
    sa.Column("due", sa.Text),  # a date, as ISO text
    sa.Column("overwrites", sa.Boolean, nullable=False),  # what was edited or deleted in Medplum
    sa.Column("believed", sa.BigInteger, index=True),  # of a collision: the unit that counts
)

likenesses = sa.Table(  # hashes of what two patients that may be one person have in common
    "likenesses",
    metadata,
    sa.Column("print", sa.LargeBinary(16), primary_key=True),
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("unit_id", sa.BigInteger, primary_key=True, index=True),
)

pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("stream", sa.Text, nullable=False, index=True),
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sa.Column("paused_at", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),  # of those seen by the run until then
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),  # JSON: how many failed for which reason
    sa.Column("resumed_at", sa.BigInteger),
    sa.Column("resumed_by", sa.Text),
    sa.Column("note", sa.Text),
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

sweeps = sa.Table(
    "sweeps",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("stream", sa.Text, nullable=False, index=True),
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("last_unit", sa.BigInteger, nullable=False),  # units landed later cannot be absent
    sa.Column("held", sa.BigInteger, nullable=False),  # live units when it began
    sa.Column("since", sa.BigInteger),  # change times outside [since, until) are not asked for
    sa.Column("until", sa.BigInteger),
    sa.Column("verdict", sa.Text),  # believed, refused; None: it never came to its end
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("rows", sa.BigInteger),
    sa.Column("absent", sa.BigInteger),
    sa.Column("gone", sa.BigInteger),
)

parents = sa.Table(  # those of a per-parent stream that were once read from the beginning
    "parents",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("parent", sa.Text, primary_key=True),
    sa.Column("read_at", sa.BigInteger, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("renewed_at", sa.BigInteger, nullable=False),
)

requests_made = sa.Table(  # those on a budget that processes share; older ones are forgotten
    "requests_made",
    metadata,
    sa.Column("budget", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),  # from 1, without gaps
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("depth", sa.BigInteger, nullable=False),  # how many are kept
)

ledgers = sa.Table(  # numbers that processes change in turns, as the room that owns them writes
    "ledgers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("written_at", sa.BigInteger, nullable=False),
)

custody = sa.Table(  # what was done to payloads as a whole
    "custody",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("act", sa.Text, nullable=False),  # sealed, purged
    sa.Column("stream", sa.Text),  # None: all
    sa.Column("terms", sa.Text, nullable=False),  # the retention, or the name of the key
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),  # None: cut off, or under way
    sa.Column("rows", sa.BigInteger, nullable=False),  # done so far
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

tallies = sa.Table(  # how many units there are of each kind, kept by triggers (``tallies``)
    "tallies",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),  # eligible, window, version, run, type
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),  # within the kind
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("part", sa.BigInteger, primary_key=True),  # 0, or the transaction that added it
    sa.Column("counted", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
