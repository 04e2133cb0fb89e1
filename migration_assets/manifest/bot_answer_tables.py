"""The table of what Bots answered of rows, so that nothing is asked twice.

Belongs here: its definition. Does not belong here: the account itself (``schema``), or queries.

Patient data is in ``answer``: compressed, and sealed as a row's payload is. It goes when the row's
payload goes, and when everything is sealed with another key: a Bot can be asked again.
"""

import sqlalchemy as sa

from migration_assets.manifest.schema import metadata

bot_answers = sa.Table(  # the last answer of each unit
    "bot_answers",
    metadata,
    sa.Column("unit_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Text, nullable=False),  # of the Bot, as Medplum counts
    sa.Column("answer", sa.LargeBinary, nullable=False),  # with the hash of the row it is of
)
