"""Many rows in one statement: on PostgreSQL a statement a row cost 200 µs each, its triggers more.

There the rows travel as one array a column (``unnest``), whatever their number; SQLite is in this
process, and takes them one by one fastest. Not COPY: an error in it quotes the row.

Belongs here: inserting and updating lists of rows. Does not belong here: what is written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

Given = Callable[[str], sa.ColumnElement[Any]]
"""A value of the row at hand, by name."""


def insert_each(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows that all name the same columns."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(fed(sa.insert(table), table, rows))
        return
    # What SQLAlchemy does for each row is a fifth of what landing it costs, and SQLite takes our
    # values as they are.
    names = list(rows[0])
    columns = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
    marks = ", ".join("?" * len(names))
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({columns}) VALUES ({marks})",  # noqa: S608 - names of the schema
        [tuple(each[name] for name in names) for each in rows],
    )


def fed(insert: Any, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> Any:
    """An insert with its rows in it, for PostgreSQL."""
    names = list(rows[0])
    feed = _feed(rows, {name: table.c[name].type for name in names})
    return insert.from_select(names, sa.select(*(feed(name) for name in names)))


def among(
    connection: sa.Connection, column: sa.ColumnElement[str], values: Sequence[str]
) -> sa.ColumnElement[bool]:
    """The column is one of these values, at most as many as SQLite has parameters.

    Of a table without statistics (a new one, in its first minutes) PostgreSQL believes that a list
    of 500 keys means every row, and reads all of them: 0.6 s a page. By a join it uses the index.
    """
    if connection.dialect.name == "postgresql":
        fed_ = sa.func.unnest(sa.bindparam(None, list(values), type_=ARRAY(sa.Text)))
        return column.in_(sa.select(fed_))
    return column.in_(values)


def update_each(
    connection: sa.Connection,
    rows: Iterable[Mapping[str, Any]],
    types: Mapping[str, sa.types.TypeEngine[Any]],
    build: Callable[[Given], sa.Update],
) -> int:
    """Update by every row, of which ``types`` are the columns; returns how many rows were found.

    ``build`` makes the statement from the values given. The first column of ``types`` says which
    row is meant: where one is named twice, the rows go one by one, in their order.
    """
    listed = list(rows)
    if not listed:
        return 0
    key = next(iter(types))
    once = len({each[key] for each in listed}) == len(listed)
    if once and connection.dialect.name == "postgresql":
        listed.sort(key=lambda each: each[key])  # those who lock the same rows meet in one order
        return connection.execute(build(_feed(listed, types))).rowcount
    one = build(lambda name: sa.bindparam(name, type_=types[name]))
    return connection.execute(one, listed).rowcount


def _feed(
    rows: Sequence[Mapping[str, Any]], types: Mapping[str, sa.types.TypeEngine[Any]]
) -> Given:
    columns = [
        sa.bindparam(f"all_{name}", [each[name] for each in rows], type_=ARRAY(type_))
        for name, type_ in types.items()
    ]
    table = sa.func.unnest(*columns).table_valued(*types).render_derived()
    return lambda name: table.c[name]
