"""The balance is kept, not counted: of 10 million units a count took up to 20 s.

Triggers keep the tallies, so that no statement passes them by. A later revision that copies
``units`` or ``targets`` on SQLite (batch operations) has to make them again.
"""

# ruff: noqa: S608 - statements are put together from the names in this file, and from nothing else

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009c"

_AT_ONCE = 100_000  # units counted by one statement: what it groups stays in memory

_DAY = (
    "coalesce(CAST(({0}.changed_at - ({0}.changed_at % 86400000000 + 86400000000) % 86400000000)"
    " / 86400000000 AS TEXT), '')"
)
_VERSION = "coalesce({0}.mapping_version, '')"
_RUN = (
    "CAST(CASE WHEN {0}.state = 'pending' OR {0}.settled_run IS NULL"
    " OR coalesce({0}.settled_at, -1) < {0}.landed_at"
    " THEN {0}.seen_run ELSE {0}.settled_run END AS TEXT)"
)
_NAMES = {"window": _DAY, "version": _VERSION, "run": _RUN}
_ADDED = (
    " ON CONFLICT (kind, stream, name, state, part)"
    " DO UPDATE SET counted = tallies.counted + excluded.counted"
)


def upgrade() -> None:
    """Make the table, the triggers, and the tallies of what is on account."""
    op.create_table(
        "tallies",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("part", sa.BigInteger, nullable=False),
        sa.Column("counted", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "stream", "name", "state", "part"),
        sqlite_with_rowid=False,
    )
    has_reason = sa.text("reason IS NOT NULL")  # of 10 million, a run's exceptions took 7 s
    op.create_index(
        "ix_units_exceptions_run",
        "units",
        ["settled_run", "seen_run"],
        sqlite_where=has_reason,
        postgresql_where=has_reason,
    )
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    last = connection.execute(sa.text("SELECT max(id) FROM units")).scalar() or 0
    for statement in (*(_postgresql() if postgresql else _sqlite()), *_counted(last)):
        # psycopg reads a % as the beginning of a parameter.
        connection.exec_driver_sql(statement.replace("%", "%%") if postgresql else statement)


def _counted(last: int) -> Iterator[str]:
    """Every unit is read once, a part at a time."""
    names = ", ".join(f"{name.format('units')} AS {kind}_" for kind, name in _NAMES.items())
    kinds = " UNION ALL ".join(
        f"SELECT '{kind}', stream, {kind}_, state, n FROM alike" for kind in _NAMES
    )
    for low in range(0, last + 1, _AT_ONCE):
        part = f"units.id >= {low} AND units.id < {low + _AT_ONCE}"
        yield (
            f"WITH alike AS MATERIALIZED (SELECT units.stream, units.state, {names}, count(*) AS n"
            f" FROM units WHERE {part} GROUP BY 1, 2, 3, 4, 5), told AS (SELECT 'eligible' AS kind,"
            f" stream, '' AS name, '' AS state, n FROM alike UNION ALL {kinds})"
            " INSERT INTO tallies SELECT kind, stream, name, state, 0, sum(n) FROM told"
            f" WHERE n > 0 GROUP BY 1, 2, 3, 4{_ADDED}"
        )
        yield (
            "INSERT INTO tallies SELECT 'type', units.stream, targets.resource_type, units.state,"
            " 0, count(DISTINCT units.id) FROM units JOIN targets ON targets.unit_id = units.id"
            # Said of both: PostgreSQL would read all targets for every part.
            f" WHERE {part} AND {part.replace('units.id', 'targets.unit_id')}"
            f" GROUP BY 2, 3, 4{_ADDED}"
        )


def _sqlite() -> Iterator[str]:
    """Row by row, as SQLite's triggers are; a row of tallies is in its cache."""

    def moved(unit: str, number: int) -> Iterator[str]:
        for kind, name in _NAMES.items():
            at = f"{unit}.stream, {name.format(unit)}, {unit}.state"
            yield f"INSERT INTO tallies VALUES ('{kind}', {at}, 0, {number}){_ADDED}"

    def typed(unit: str, number: int) -> str:
        return (
            f"INSERT INTO tallies SELECT DISTINCT 'type', {unit}.stream, resource_type,"
            f" {unit}.state, 0, {number} FROM targets WHERE unit_id = {unit}.id{_ADDED}"
        )

    def eligible(unit: str, number: int) -> str:
        return (
            f"INSERT INTO tallies VALUES ('eligible', {unit}.stream, '', '', 0, {number}){_ADDED}"
        )

    def owned(target: str, number: int) -> str:
        """The only target of its type that its unit has: ``id`` tells it from the others."""
        return (
            f"INSERT INTO tallies SELECT 'type', stream, {target}.resource_type, state, 0, {number}"
            f" FROM units WHERE id = {target}.unit_id AND NOT EXISTS (SELECT 1 FROM targets"
            f" WHERE unit_id = {target}.unit_id AND resource_type = {target}.resource_type"
            f" AND id <> {target}.id){_ADDED}"
        )

    differs = " OR ".join(
        f"{name.format('old')} IS NOT {name.format('new')}" for name in _NAMES.values()
    )
    changes = "state, changed_at, mapping_version, seen_run, settled_run, settled_at, landed_at"
    yield _trigger("units_new", "INSERT ON units", eligible("new", 1), *moved("new", 1))
    yield _trigger(
        "units_changed",
        f"UPDATE OF {changes} ON units WHEN old.state <> new.state OR {differs}",
        *moved("old", -1),
        *moved("new", 1),
    )
    yield _trigger(
        "units_settled",
        "UPDATE OF state ON units WHEN old.state <> new.state",
        typed("old", -1),
        typed("new", 1),
    )
    yield _trigger(
        "units_gone",
        "DELETE ON units",
        eligible("old", -1),
        *moved("old", -1),
        typed("old", -1),
    )
    yield _trigger("targets_new", "INSERT ON targets", owned("new", 1))
    yield _trigger(
        "targets_changed",
        "UPDATE OF unit_id, resource_type ON targets WHEN old.unit_id <> new.unit_id"
        " OR old.resource_type <> new.resource_type",
        owned("old", -1),
        owned("new", 1),
    )
    yield _trigger("targets_gone", "DELETE ON targets", owned("old", -1))


def _trigger(name: str, when: str, *steps: str) -> str:
    # A SELECT that feeds an upsert needs a WHERE: without, SQLite takes ON for a join's.
    return f"CREATE TRIGGER tallies_{name} AFTER {when} BEGIN {'; '.join(steps)}; END"


def _postgresql() -> Iterator[str]:
    """Statement by statement: its rows are added up before they are written."""
    moved = (
        "INSERT INTO tallies SELECT d.kind, d.stream, d.name, d.state, txid_current(), sum(d.n)"
        " FROM ({}) d GROUP BY 1, 2, 3, 4 HAVING sum(d.n) <> 0" + _ADDED + ";"
    )

    def kinds(rows: str, number: int, *, eligible: bool) -> str:
        listed = [f"('{kind}', {name.format('u')}, u.state)" for kind, name in _NAMES.items()]
        listed += ["('eligible', '', '')"] if eligible else []
        return (
            f"SELECT v.kind, u.stream, v.name, v.state, {number} AS n FROM {rows} u"
            f" CROSS JOIN LATERAL (VALUES {', '.join(listed)}) v(kind, name, state)"
        )

    def typed(rows: str, number: int, other: str | None = None) -> str:
        """Each type once a unit, of units whose state is another now."""
        changed = f" JOIN {other} o ON o.id = u.id AND o.state <> u.state" if other else ""
        return (
            f"SELECT DISTINCT 'type', u.stream, t.resource_type, u.state, u.id, {number} AS n"
            f" FROM {rows} u{changed} JOIN targets t ON t.unit_id = u.id"
        )

    def apart(query: str) -> str:
        named = "p(kind, stream, name, state, id, n)"
        return f"SELECT kind, stream, name, state, n FROM ({query}) {named}"

    yield _function("units_new", moved.format(kinds("fresh", 1, eligible=True)))
    yield _function(
        "units_changed",
        moved.format(
            " UNION ALL ".join(
                (
                    kinds("stale", -1, eligible=False),
                    kinds("fresh", 1, eligible=False),
                    apart(typed("stale", -1, "fresh")),
                    apart(typed("fresh", 1, "stale")),
                )
            )
        ),
    )
    yield _function(
        "units_gone",
        moved.format(f"{kinds('stale', -1, eligible=True)} UNION ALL {apart(typed('stale', -1))}"),
    )
    targets = (("new", None, "fresh"), ("changed", "stale", "fresh"), ("gone", "stale", None))
    for name, before, after in targets:
        yield _function(f"targets_{name}", *_owned(moved, before, after))
    for table in ("units", "targets"):
        for name, event, seen in (
            ("new", "INSERT", "NEW TABLE AS fresh"),
            ("changed", "UPDATE", "OLD TABLE AS stale NEW TABLE AS fresh"),
            ("gone", "DELETE", "OLD TABLE AS stale"),
        ):
            yield (
                f"CREATE TRIGGER tallies_{table}_{name} AFTER {event} ON {table} REFERENCING {seen}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION tallies_{table}_{name}()"
            )


def _owned(moved: str, before: str | None, after: str | None) -> Iterator[str]:
    """Types that units have, or have no longer, by what happened to some targets."""
    touched = " UNION ".join(
        f"SELECT DISTINCT unit_id, resource_type FROM {rows}" for rows in (before, after) if rows
    )
    if before and after:
        yield (
            "IF NOT EXISTS (SELECT 1 FROM stale JOIN fresh USING (id)"
            " WHERE stale.unit_id <> fresh.unit_id OR stale.resource_type <> fresh.resource_type)"
            " THEN RETURN NULL; END IF;"
        )
    # Whoever changes the state of such a unit meanwhile waits for us, or we for him.
    yield (
        f"PERFORM 1 FROM units WHERE id IN (SELECT unit_id FROM ({touched}) p)"
        " ORDER BY id FOR NO KEY UPDATE;"
    )
    same = "unit_id = p.unit_id AND resource_type = p.resource_type"
    had = f"EXISTS (SELECT 1 FROM {before} WHERE {same}) OR " if before else ""
    untouched = f" AND id NOT IN (SELECT id FROM {after})" if after else ""
    yield moved.format(
        "SELECT 'type' AS kind, u.stream, p.resource_type AS name, u.state,"
        f" CASE WHEN EXISTS (SELECT 1 FROM targets WHERE {same}) THEN 1 ELSE 0 END"
        f" - CASE WHEN {had}EXISTS (SELECT 1 FROM targets WHERE {same}{untouched})"
        f" THEN 1 ELSE 0 END AS n FROM ({touched}) p JOIN units u ON u.id = p.unit_id"
    )


def _function(name: str, *steps: str) -> str:
    return (
        f"CREATE FUNCTION tallies_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" {' '.join(steps)} RETURN NULL; END $$"
    )
