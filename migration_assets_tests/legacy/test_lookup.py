"""An absence is confirmed by asking for the row itself; what is no answer about it says nothing."""

from typing import Any

import pytest

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.sighting import Presence
from migration_assets_tests.legacy.conftest import PERSON, MakePuller, told
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.test_description import load_stream
from migration_assets_tests.legacy.test_details_and_parents import PATIENTS

CONFIRM = {"confirm": "rows/{id}", "confirm_select": "data", "tombstone": {"path": "deleted"}}


def of(**row: Any) -> Reply:
    return json_reply({"data": row})


@pytest.mark.parametrize(
    ("reply", "presence", "row"),
    [
        (of(id="a"), Presence.PRESENT, {"id": "a"}),
        (json_reply({}, 404), Presence.GONE, None),
        (json_reply({}, 410), Presence.GONE, None),
        (of(id="a", deleted=True), Presence.GONE, {"id": "a", "deleted": True}),
        (of(id="a", into="b"), Presence.PRESENT, {"id": "a", "into": "b"}),
        (of(id="b"), Presence.UNKNOWN, None),
        (json_reply({"error": "not found"}), Presence.UNKNOWN, None),
        (json_reply({"data": None}), Presence.UNKNOWN, None),
        (json_reply({"data": [{"id": "a"}]}), Presence.UNKNOWN, None),
        (json_reply({}, 403), Presence.UNKNOWN, None),
    ],
)
def test_only_an_answer_about_the_row_itself_says_that_it_is_gone(
    server: LegacyServer, puller: MakePuller, reply: Reply, presence: Presence, row: Any
) -> None:
    """Believed too easily, an error page would have a living patient marked as deleted."""
    server.answers("/rows/a", reply)
    skips = {"on_status": [{"status": [403], "action": "skip"}]}
    found = puller({**CONFIRM, "merged_into": "into"}, http=skips).look_up("patients", "a")
    assert (found.presence, found.row.row if found.row else None) == (presence, row)
    if row is not None and "into" in row:
        assert found.row is not None
        assert found.row.merged_into == "b"


@pytest.mark.parametrize(("status", "fate"), [(500, Transient), (400, Permanent)])
def test_a_source_that_does_not_answer_says_nothing(
    server: LegacyServer, puller: MakePuller, status: int, fate: type[Exception]
) -> None:
    server.answers(f"/rows/{PERSON}", json_reply({}, status))
    with pytest.raises(fate, match=r"looking up a row of patients at .*/rows/\{id\}") as caught:
        puller(CONFIRM).look_up("patients", PERSON)
    told(caught.value)


def test_the_change_time_of_a_row_may_be_in_the_list_only(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows/a", of(id="a"))
    found = puller({**CONFIRM, "cursor": {"field": "changed"}}).look_up("patients", "a")
    assert found.row is not None
    assert (found.row.problem, found.row.changed_at) == (None, None)


def test_the_detail_confirms_where_nothing_else_is_said(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/patients/a%2Fb", of(id="a/b"))
    one = puller({"detail": "{stream}/{id}", "detail_select": "data"})
    assert one.can_look_up("patients")
    assert one.look_up("patients", "a/b").presence is Presence.PRESENT


VISITS: dict[str, Any] = {"name": "visits", "path": "visits", "select": "data", "id": "id"}


@pytest.mark.parametrize(
    ("visits", "can"),
    [
        ({}, False),
        ({"id": ["id", "part"], "confirm": "visits/{id}"}, False),
        ({"parent": {"stream": "patients", "param": "patient"}, "confirm": "visits/{id}"}, True),
    ],
)
def test_a_row_without_a_path_of_its_own_is_not_asked_for(
    server: LegacyServer, puller: MakePuller, visits: dict[str, Any], can: bool
) -> None:
    server.answers("/visits/v", of(id="v"))
    one = puller(streams=[PATIENTS, {**VISITS, "confirm_select": "data", **visits}])
    assert one.can_look_up("visits") is can
    expected = Presence.PRESENT if can else Presence.UNKNOWN
    assert one.look_up("visits", "v").presence is expected
    assert one.look_up("visits", "..").presence is Presence.UNKNOWN
    assert len(server.asked) == can


@pytest.mark.parametrize("path", ["patients", "../{id}", "{id}/{id}"])
def test_a_confirmation_that_names_no_row_is_refused(path: str) -> None:
    with pytest.raises(Permanent, match=r"confirm"):
        load_stream(confirm=path)
