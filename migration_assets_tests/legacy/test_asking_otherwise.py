"""A description asked otherwise for one run: what may be changed, and what would lose rows."""

import datetime as dt
from collections.abc import Iterator

import pytest

from migration_assets.errors import Permanent
from migration_assets.legacy import Puller, load_description
from migration_assets.legacy.asking_otherwise import hurried, with_page_size, with_record_range
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply

DESCRIPTION = """
name: otherwise
base_url: {base}
http: {{attempts: 3, timeout_read: 60}}
streams:
  - name: encounters
    path: encounters
    select: rows
    id: id
    sweep: true
    params: {{kind: visit}}
    cursor: {{field: at, param: since, precision_seconds: 0.001}}
    pager: {{type: page, size_param: size, size: 50, max_size: 80, order: fixed}}
    record_date: {{field: visit.date, param: date, send: "ge{{value}}", until_param: date,
                   until_send: "lt{{value}}"}}
  - {{name: plain, path: plain, id: id}}
"""


@pytest.fixture
def server() -> Iterator[LegacyServer]:
    with LegacyServer() as served:
        yield served


def _nothing(_asked: Asked) -> Reply:
    return json_reply({"rows": []})


def test_a_run_asks_for_smaller_pages_and_the_description_stays(server: LegacyServer) -> None:
    server.routes |= {"/encounters": _nothing}
    source = load_description(DESCRIPTION.format(base=server.url))
    smaller = with_page_size(source, "encounters", 7)
    for each in (smaller, source):
        puller = Puller(each, environ={})
        list(puller.pages("encounters", None, None))
        puller.close()
    assert [each.one("size") for each in server.asked] == ["7", "50"]


@pytest.mark.parametrize("size", [0, 81])
def test_a_page_size_the_api_may_not_keep_to_is_refused(size: int) -> None:
    """It would send fewer rows than asked for, and paging by numbers would take that as the end."""
    source = load_description(DESCRIPTION.format(base="https://legacy.example"))
    with pytest.raises(Permanent, match="allows 1 to 80"):
        with_page_size(source, "encounters", size)


def test_a_page_size_where_the_description_has_none_is_refused() -> None:
    source = load_description(DESCRIPTION.format(base="https://legacy.example"))
    with pytest.raises(Permanent, match="means nothing for plain"):
        with_page_size(source, "plain", 10)


def test_a_clinical_range_is_asked_for_beside_what_the_stream_says_anyway(
    server: LegacyServer,
) -> None:
    server.routes |= {"/encounters": _nothing}
    source = load_description(DESCRIPTION.format(base=server.url))
    ranged = with_record_range(source, "encounters", dt.date(2023, 1, 1), dt.date(2024, 1, 1))
    puller = Puller(ranged, environ={})
    list(puller.pages("encounters", None, None))
    puller.close()
    (request,) = server.asked
    assert request.query["date"] == ["ge2023-01-01", "lt2024-01-01"]
    assert request.one("kind") == "visit"


def test_a_stream_without_such_a_filter_is_not_asked_for_a_range() -> None:
    source = load_description(DESCRIPTION.format(base="https://legacy.example"))
    with pytest.raises(Permanent, match="no filter by clinical date"):
        with_record_range(source, "plain", dt.date(2023, 1, 1), None)


def test_a_probe_has_little_patience_and_a_pull_keeps_its_own() -> None:
    source = load_description(DESCRIPTION.format(base="https://legacy.example"))
    quick = hurried(source, deadline=5).http
    assert (quick.attempts, quick.deadline, quick.timeout_read) == (1, 5, 6)
    assert source.http.attempts == 3


@pytest.mark.parametrize(
    ("form", "value", "day"),
    [
        ("iso", "2023-05-17", dt.date(2023, 5, 17)),
        ("iso", "2023-12-31T23:30:00-05:00", dt.date(2023, 12, 31)),
        ("iso", "2023-05", None),
        ("iso", "20230517", None),
        ("iso", "2023-13-01", None),
        ("iso", None, None),
        ("%m/%d/%Y", "12/31/2023", dt.date(2023, 12, 31)),
        ("%m/%d/%Y", "2023-12-31", None),
        ("%m/%d/%Y", 5, None),
    ],
)
def test_a_clinical_date_is_the_day_as_written_or_none(
    form: str, value: object, day: dt.date | None
) -> None:
    described = load_description(
        DESCRIPTION.format(base="https://legacy.example").replace(
            "field: visit.date,", f'field: visit.date, format: "{form}",'
        )
    )
    date = described.stream("encounters").record_date
    assert date is not None
    assert date.date_reader()(value) == day
