"""The table of what was written back to the legacy system, or has to be.

Belongs here: its definition. Does not belong here: the account itself (``schema``), or queries
(``write_backs``). No content stands in it: Medplum's history keeps that of a version, the unit that
of a row. ``key`` and the ids name a person without telling anything of them; ``note`` is what
people write.
"""

import sqlalchemy as sa

from migration_assets.manifest.schema import BigId, metadata

write_backs = sa.Table(  # one debt per resource and version seen in Medplum
    "write_backs",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("resource_type", sa.Text, nullable=False),
    sa.Column("fhir_id", sa.Text, nullable=False),
    sa.Column("version_id", sa.Text, nullable=False),  # of a deletion: the last one that lived
    sa.Column("kind", sa.Text, nullable=False),  # change, create, delete
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("field", sa.Text),  # element path, or a field of the row
    sa.Column("unit_id", sa.BigInteger, index=True),  # None: not on account yet
    sa.Column("token", sa.Text),  # likewise
    sa.Column("key", sa.Text),  # the source's, as soon as it is known
    sa.Column("versions", sa.Text, nullable=False),  # JSON: version, time, author since the last
    sa.Column("seen_at", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("sent_at", sa.BigInteger),  # None: nothing was ever sent for it
    sa.Column("settled_at", sa.BigInteger),
    sa.Column("settled_run", sa.BigInteger),
    sa.Column("choice", sa.Text),  # medplum, legacy, retry, accept
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("decided_by", sa.Text),
    sa.Column("note", sa.Text),
    sa.UniqueConstraint("resource_type", "fhir_id", "version_id", "kind"),
)
sa.Index("ix_write_backs_state", write_backs.c.resource_type, write_backs.c.state, write_backs.c.id)
