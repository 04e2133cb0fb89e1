"""What a draft takes from a document is proved there; whatever is not is asked in a comment.

Each test is a document in which a plausible guess would lose rows.
"""

from typing import Any

import orjson
import pytest

from migration_assets.errors import Permanent
from migration_assets.legacy.description import (
    EnvironmentReference,
    Source,
    Stream,
    load_description,
)
from migration_assets.legacy.drafting import Draft, draft
from migration_assets.legacy.drafting.documents import document_of
from migration_assets_tests.legacy.openapi_documents import (
    ADDRESS,
    DRF_PAGE,
    NUMBER,
    ROW,
    TIME,
    Json,
    answering,
    document,
    query,
    rows_of,
)

SINCE = query("updated_since", format="date-time")
FROM = query("updated_at__gte", format="date-time")


def drafted(paths: Json, schemas: Json | None = None, **said: Any) -> Draft:
    return draft(document_of(document(paths, schemas, **said), where="it"), where="it")


def one(get: Json, row: Json | None = None) -> tuple[Stream, str]:
    """The one stream of a document, and the whole draft on one line."""
    made = drafted({"/patients": get}, {"Row": row} if row else None)
    return load_description(made.text).stream("patients"), flat(made)


def flat(made: Draft) -> str:
    """Its text with comments unwrapped."""
    return " ".join(made.text.replace("\n#   ", " ").split())


def test_page_numbers_over_an_unknown_order_are_read_in_full() -> None:
    """Rows that change while we read would slip from one page to another, unseen."""
    stream, text = one(answering(rows_of("Row", **DRF_PAGE), query("page", "integer"), SINCE))
    assert stream.cursor is None
    assert "# decide: patients: page numbers over rows" in text
    assert "once decided: cursor: {field: updated_at, param: updated_since" in text


def test_page_numbers_with_a_sort_by_change_time_become_a_walk() -> None:
    sort = query("sort", enum=["updated_at", "-updated_at"])
    asked = (query("page", "integer", default=1), FROM, sort)
    stream, _ = one(answering(rows_of("Row"), *asked))
    assert stream.pager.type == "walk"
    assert stream.params == {"sort": ("updated_at",)}
    assert stream.cursor is not None


def test_a_walk_is_not_drafted_where_equality_is_not_sure() -> None:
    """Of several rows at one instant those on the next page would be skipped."""
    sort = query("sort", enum=["updated_at"])
    stream, _ = one(answering(rows_of("Row"), query("page", "integer"), SINCE, sort))
    assert stream.pager.type == "page"
    assert stream.cursor is None


def test_a_sort_by_id_makes_the_order_of_pages_fixed_and_says_that_it_is_not_proved() -> None:
    sort = (query("order_by", enum=["id"]), query("direction", enum=["desc", "asc"]))
    stream, text = one(answering(rows_of("Row"), query("page", "integer"), SINCE, *sort))
    assert stream.cursor is not None
    assert stream.pager.order == "fixed"  # type: ignore[union-attr]  # it is of pages
    assert stream.params == {"order_by": ("id",), "direction": ("asc",)}
    assert "asked for and not proved" in text
    assert stream.sweep


def test_a_sweep_is_promised_where_the_next_address_may_count_rows_and_only_there() -> None:
    """A draft that promises what nobody keeps is worth less than one that needs no promise."""
    stream, text = one(answering(rows_of("Row", next=ADDRESS), SINCE))
    assert (stream.pager.type, stream.sweep) == ("next_url", True)
    assert stream.cursor is not None
    assert "nightly_sweep must run; if it names the last row, say keyset: true" in text
    for get in (
        answering(rows_of("Row", next=ADDRESS)),
        answering(rows_of("Row"), query("offset", "integer"), query("limit", "integer"), SINCE),
    ):
        stream, text = one(get)
        assert (stream.sweep, "nightly_sweep" in text) == (False, False)


def test_the_first_page_is_zero_where_nothing_says_one() -> None:
    """A page 0 never asked for would be lost; a source that has none stops the pull instead."""
    for said, first in (({}, 0), ({"default": 1}, 1), ({"minimum": 0}, 0)):
        stream, text = one(answering(rows_of("Row"), query("page", "integer", **said)))
        assert stream.pager.first == first  # type: ignore[union-attr]  # it is of pages
        assert ("may be 0 or 1" in text) is (said == {})


@pytest.mark.parametrize(
    ("around", "total"),
    [
        ({"total": NUMBER}, None),
        ({"total": NUMBER, "total_pages": NUMBER}, "total"),
        ({"meta": {"type": "object", "properties": {"total": NUMBER, "count": NUMBER}}},
         "meta.total"),
        ({"count": NUMBER}, None),
        (DRF_PAGE, "count"),
    ],
)  # fmt: skip
def test_a_total_is_believed_only_where_it_cannot_be_of_one_page(
    around: Json, total: str | None
) -> None:
    """ModMed's total counts the page: reading would stop after the first, silently."""
    stream, _ = one(answering(rows_of("Row", **around), query("page", "integer")))
    assert stream.pager.total == total  # type: ignore[union-attr]  # it is of pages


def test_a_list_that_is_cut_in_an_unknown_way_is_no_stream_yet() -> None:
    """Pulled as it stands, every row after the first page would be lost without a word."""
    for get in (
        answering(rows_of("Row"), query("limit", "integer")),
        answering(rows_of("Row", total=NUMBER)),
        answering(rows_of("Row", has_more={"type": "boolean"}), query("starting_after")),
        answering(rows_of("Row", link={"type": "array", "items": {"type": "object"}})),
        answering(rows_of("Row", **{"@odata.nextLink": {"type": "string"}})),
        answering(rows_of("Row", next_page=NUMBER)),
        answering(rows_of("Row"), query("offset", "integer")),
        answering(rows_of("Row"), query("count", "boolean"), query("cursor")),
    ):
        made = drafted({"/patients": get})
        assert made.streams == ()
        assert "every row after the first page would be lost" in flat(made)
        assert "#  - {name: patients" in made.text
        assert load_description(made.text).streams == ()


@pytest.mark.parametrize(
    ("parameter", "change", "asked"),
    [
        (query("updated_since"), TIME, "whether updated_since takes a time with a zone"),
        (query("updated_since", format="date"), TIME, "the zone in which updated_since counts"),
        (SINCE, {"type": "string", "format": "date"}, "the zone in which updated_at counts"),
        (SINCE, {"type": "string"}, "whether updated_at carries a zone"),
        (query("updated_since", "integer"), {"type": "integer"}, "seconds or milliseconds"),
        (query("updated_since", "integer"), TIME, "the format updated_since takes"),
        (query("since", format="date-time"), TIME, "not created since"),
    ],
)
def test_a_zone_or_a_unit_that_no_document_says_is_asked_not_guessed(
    parameter: Json, change: Json, asked: str
) -> None:
    row = {"type": "object", "properties": {"id": NUMBER, "updated_at": change}}
    get = answering(rows_of("Row", next=ADDRESS), parameter)
    stream, text = one(get, row)
    assert stream.cursor is None
    assert asked in text
    assert "once decided: cursor: {field: updated_at" in text


def test_milliseconds_are_known_by_their_size() -> None:
    change = {"type": "integer", "format": "int64", "example": 1_709_251_200_000}
    row = {"type": "object", "properties": {"id": NUMBER, "updated_at": change}}
    stream, text = one(
        answering(rows_of("Row", next=ADDRESS), query("updated_since", "integer")), row
    )
    assert stream.cursor is not None
    assert stream.cursor.format == "epoch_ms"
    assert "1709" not in text


@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        ("created_after", "filters by creation"),
        ("date_from", "no parameter filters by it"),
        ("updated_by_from", "no parameter filters by it"),
    ],
)
def test_a_filter_of_another_kind_is_never_taken_for_one_of_changes(
    parameter: str, why: str
) -> None:
    """OpenMRS's fromdate is the encounter's: later changes of a row would never be seen."""
    get = answering(rows_of("Row", next=ADDRESS), query(parameter, format="date-time"))
    stream, text = one(get)
    assert stream.cursor is None
    assert why in text


def test_a_row_inside_the_row_is_not_the_row() -> None:
    """Notes filtered by their patient's change time, or deleted with it, would be lost."""
    inner = {"type": "object", "properties": {**ROW["properties"], "deleted": {"type": "boolean"}}}
    row = {"type": "object", "properties": {"id": NUMBER, "patient": inner}}
    stream, _ = one(answering(rows_of("Row", next=ADDRESS), SINCE), row)
    assert stream.cursor is None
    assert stream.tombstone is None


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        ({"id": NUMBER, "patient_id": NUMBER}, ("id",)),
        ({"PatientID": NUMBER, "name": {}}, ("PatientID",)),
        ({"uuid": {"type": "string"}, "site_id": NUMBER}, ("uuid",)),
        ({"a": {**NUMBER, "x-primary-key": True}, "b": {**NUMBER, "x-primary-key": True},
          "id": NUMBER}, ("a", "b")),
        ({"site": {**NUMBER, "x-foreign-key": True}, "id": NUMBER}, ("id",)),
        ({"attributes": {"type": "object", "properties": {"id": NUMBER}}}, ("attributes.id",)),
        ({"record_id": NUMBER}, ("record_id",)),
    ],
)  # fmt: skip
def test_a_key_is_what_the_document_calls_one(properties: Json, key: tuple[str, ...]) -> None:
    row = {"type": "object", "properties": properties, "required": ["record_id"]}
    stream, _ = one(answering(rows_of("Row")), row)
    assert stream.id == key


def test_the_key_of_another_stream_s_row_is_no_key() -> None:
    """All notes of a patient would become one unit, and all but one be lost."""
    note = {"type": "object", "properties": {"patient_id": NUMBER}, "required": ["patient_id"]}
    paths = {"/patients": answering(rows_of("Row")), "/notes": answering(rows_of("Note"))}
    made = drafted(paths, {"Row": ROW, "Note": note})
    assert made.left_out == ("notes",)
    assert "with a wrong one rows become one row" in flat(made)


def test_one_thing_with_a_list_in_it_is_not_a_list_of_things() -> None:
    phones = {"type": "array", "items": {"type": "object"}}
    clinic = {"type": "object", "properties": {"id": NUMBER, "phones": phones}}
    with pytest.raises(Permanent, match="no GET that answers with a list of rows"):
        drafted({"/clinic": answering({"$ref": "#/components/schemas/Row"})}, {"Row": clinic})


def test_rows_asked_for_by_a_parent_name_the_stream_that_has_its_key() -> None:
    paths = {
        "/patients": answering(rows_of("Row")),
        "/patients/{patient_id}/notes": answering(rows_of("Row")),
        "/visits": answering(rows_of("Row"), query("patient_id", must=True)),
        "/wards/{id}/beds": answering(rows_of("Row")),
        "/a/{b}/c/{d}/e": answering(rows_of("Row")),
        "/labs": answering(rows_of("Row"), query("site", must=True)),
        "/drugs": answering(rows_of("Row"), query("kind", must=True, enum=["all"])),
    }
    made = drafted(paths)
    source = load_description(made.text)
    assert made.left_out == ("a_e", "labs")
    assert source.stream("patients_notes").path == "patients/{parent}/notes"
    assert source.stream("patients_notes").parent.stream == "patients"  # type: ignore[union-attr]
    assert source.stream("visits").parent.param == "patient_id"  # type: ignore[union-attr]
    beds = source.stream("wards_beds").parent
    assert beds is not None
    assert beds.ids_file == "wards-ids.txt"
    assert source.stream("drugs").params == {"kind": ("all",)}
    assert "the rows of a parent that is not in it are lost" in flat(made)


@pytest.mark.parametrize(
    ("parameter", "taken"),
    [("id", True), ("patientId", True), ("pid", True), ("patient", True), ("mrn", False),
     ("uuid", False), ("patient_uuid", False), ("code", False)],
)  # fmt: skip
def test_a_child_is_never_asked_for_by_another_kind_of_key(parameter: str, taken: bool) -> None:
    """Record number 17 is not patient 17: the notes of somebody else would be theirs."""
    person = {"type": "object", "properties": {**ROW["properties"], "mrn": NUMBER}}
    paths = {
        "/patients": answering(rows_of("Person")),
        f"/patients/{{{parameter}}}/notes": answering(rows_of("Row")),
    }
    made = drafted(paths, {"Person": person, "Row": ROW})
    assert ("patients_notes" in made.streams) is taken
    assert ("the rows of somebody else" in flat(made)) is not taken


def test_children_of_a_stream_that_waits_for_a_person_wait_with_it() -> None:
    paths = {
        "/patients": answering(rows_of("Row"), query("limit", "integer")),
        "/patients/{id}/notes": answering(rows_of("Row")),
    }
    assert drafted(paths).left_out == ("patients", "patients_notes")


def test_a_detail_is_asked_for_where_the_list_shows_less() -> None:
    full = {"type": "object", "properties": {**ROW["properties"], "address": {"type": "string"}}}
    paths = {
        "/patients": answering(rows_of("Row")),
        "/patients/{id}": answering({"type": "object", "properties": {"data": full}}),
    }
    stream = load_description(drafted(paths).text).stream("patients")
    assert (stream.detail, stream.detail_select) == ("patients/{id}", "data")


def test_fhir_s_last_updated_is_used_with_its_prefixes() -> None:
    resource = {"type": "object", "properties": {"id": {"type": "string"}}}
    entry = {"type": "object", "properties": {"resource": resource}}
    rows = {"type": "array", "items": entry}
    bundle = {"type": "object", "properties": {"next": ADDRESS, "entry": rows}}
    stream, _ = one(answering(bundle, query("_count", "integer"), query("_lastUpdated")))
    assert (stream.select, stream.id) == ("entry", ("resource.id",))
    assert stream.cursor is not None
    assert (stream.cursor.send, stream.cursor.until_send) == ("ge{value}", "lt{value}")


SCHEMES: Json = {
    "basic": {"type": "http", "scheme": "basic"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "key"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
    "client": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/token"}}},
    "person": {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "/token"}}},
    "foreign": {"type": "oauth2", "flows": {"clientCredentials": {
        "tokenUrl": "https://login.example.net/token"}}},
    "plain": {"type": "oauth2", "flows": {"clientCredentials": {
        "tokenUrl": "http://login.example.net/token"}}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("security", "auth", "variables", "says"),
    [
        ([{"basic": []}], "basic", {"CLINIC_USER", "CLINIC_PASSWORD"}, ""),
        ([{"bearer": []}], "bearer", {"CLINIC_TOKEN"}, ""),
        ([{"header": []}], "header", {"CLINIC_X_API_KEY"}, ""),
        ([{"query": []}], "query", {"CLINIC_KEY"}, ""),
        ([{"cookie": []}], "none", set(), "not one we know"),
        ([{"person": []}], "bearer", {"CLINIC_TOKEN"}, "pulling stops"),
        ([{"client": ["read", "list"]}], "oauth2_client_credentials",
         {"CLINIC_CLIENT_ID", "CLINIC_CLIENT_SECRET"}, "scope: read list"),
        ([{"foreign": []}], "oauth2_client_credentials",
         {"CLINIC_CLIENT_ID", "CLINIC_CLIENT_SECRET"}, "will be sent to login.example.net"),
        ([{"plain": []}], "oauth2_client_credentials",
         {"CLINIC_TOKEN_URL", "CLINIC_CLIENT_ID", "CLINIC_CLIENT_SECRET"}, "is plain http"),
        ([{"query": []}, {"bearer": []}], "bearer", {"CLINIC_TOKEN"}, "is allowed too"),
        ([{"bearer": [], "header": []}], "bearer", {"CLINIC_TOKEN", "CLINIC_X_API_KEY"}, ""),
        ([], "none", set(), "names no way to authenticate"),
    ],
)  # fmt: skip
def test_credentials_are_named_and_where_they_would_go_is_told(
    security: list[Any], auth: str, variables: set[str], says: str
) -> None:
    made = drafted(
        {"/patients": answering(rows_of("Row"))},
        security=security,
        components={"schemas": {"Row": ROW}, "securitySchemes": SCHEMES},
    )
    source = load_description(made.text)
    assert source.auth.type == auth
    assert set(made.variables) == variables
    assert says in flat(made)


@pytest.mark.parametrize(
    ("servers", "url", "says"),
    [
        ([{"url": "https://a.org/v1/"}], "https://a.org/v1", ""),
        ([{"url": "https://a.org"}, {"url": "https://b.org"}], "https://a.org", "others: https://b"),
        ([{"url": "http://a.org"}], {"env": "CLINIC_URL"}, "plain http"),
        ([{"url": "https://us:er@a.org"}], {"env": "CLINIC_URL"}, "user or password"),
        ([{"url": "https://{t}.a.org", "variables": {"t": {"default": "x"}}}],
         "https://x.a.org", "one customer to the next"),
        ([{"url": "https://{t}.a.org"}], {"env": "CLINIC_URL"}, "where the API is"),
        ([{"url": "/v1"}], {"env": "CLINIC_URL"}, "where the API is"),
        ([], {"env": "CLINIC_URL"}, "where the API is"),
    ],
)  # fmt: skip
def test_an_address_that_is_not_sure_is_left_to_the_environment(
    servers: list[Any], url: Any, says: str
) -> None:
    made = drafted({"/patients": answering(rows_of("Row"))}, servers=servers)
    source: Source = load_description(made.text)
    found = source.base_url if isinstance(source.base_url, str) else source.base_url.model_dump()
    assert found == url
    assert says in flat(made)


def test_a_document_from_another_host_than_its_api_s_is_told() -> None:
    """Whoever can write the document could else choose where our credential goes."""
    value = orjson.loads(orjson.dumps(document({"/patients": answering(rows_of("Row"))})))
    made = draft(document_of(value, url="https://docs.example.org/x.json", where="it"), where="it")
    assert "will be sent to https://api.example.org, which is not where" in flat(made)


def test_a_tenant_s_header_goes_along_from_the_environment() -> None:
    tenant = {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}
    made = drafted({"/patients": answering(rows_of("Row"), tenant)})
    header = load_description(made.text).headers["X-Tenant"]
    assert header == EnvironmentReference(env="CLINIC_X_TENANT")


def test_a_parameter_that_hides_rows_unless_it_is_set_is_told() -> None:
    """An answer without the inactive looks complete."""
    hiding = (
        query("status", default="active", enum=["active", "inactive"]),
        query("include_deleted", "boolean"),
        query("page", "integer", default=1),
        query("order", default="asc", enum=["asc"]),
    )
    _, text = one(answering(rows_of("Row"), *hiding))
    assert "patients: status, include_deleted: what is left out" in text


def test_a_filter_that_must_be_given_is_not_filled_with_its_default() -> None:
    made = drafted({"/patients": answering(rows_of("Row"), query("kind", must=True, default="a"))})
    assert made.left_out == ("patients",)
    assert "does not answer without kind" in flat(made)


def test_a_list_of_which_nothing_says_pages_is_told_to_be_taken_for_whole() -> None:
    stream, text = one(answering(rows_of("Row")))
    assert stream.pager.type == "none"
    assert "the first answer is taken for the whole" in text


def test_two_paths_that_differ_in_a_slash_are_two_streams() -> None:
    made = drafted({"/a": answering(rows_of("Row")), "/a/": answering(rows_of("Row"))})
    assert made.streams == ("a", "a_2")
