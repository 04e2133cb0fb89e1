"""Whatever a document holds, the answer is a draft that loads or one clear sentence."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets.legacy.description import load_description
from migration_assets.legacy.drafting import draft, fetch_document, read_document
from migration_assets.legacy.drafting.documents import document_of
from migration_assets_tests.legacy.conftest import PERSON, told
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply, nobody_listens
from migration_assets_tests.legacy.openapi_documents import (
    ADDRESS,
    NUMBER,
    ROW,
    Json,
    answering,
    as_yaml,
    document,
    query,
    rows_of,
    ten_regular_streams,
)

WORDS = (
    "openapi", "swagger", "paths", "get", "/a", "/a/{id}", "/a/{id}/b", "/c/{x}/{y}", "parameters",
    "responses", "200", "default", "content", "application/json", "schema", "$ref", "allOf",
    "anyOf", "oneOf", "properties", "items", "type", "array", "object", "integer", "string",
    "null", "enum", "required", "name", "in", "query", "path", "header", "format", "date-time",
    "id", "updated_at", "updated_since", "page", "limit", "cursor", "next", "total", "results",
    "components", "schemas", "securitySchemes", "security", "servers", "url", "variables", "info",
    "title", "host", "basePath", "schemes", "definitions", "flows", "clientCredentials", "tokenUrl",
    "#/components/schemas/A", "#/paths", "#", "other.yaml#/A", "https://a.org", "style",
    "deepObject", "apiKey", "http", "bearer", "oauth2", "scheme", "3.0.3", "2.0", "x-primary-key",
    "headers", "Link", "default", "minimum", "maximum", "example", "A", "sort",
)  # fmt: skip
leaves = st.one_of(
    st.sampled_from(WORDS), st.none(), st.booleans(), st.integers(), st.text(max_size=6)
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=25,
)
schemas = st.recursive(
    st.one_of(
        st.just({"$ref": "#/components/schemas/Row"}),
        st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "boolean", "object"])},
                              optional={"format": st.sampled_from(["date-time", "date", "uri"])}),
        trees,
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"allOf": st.lists(inner, max_size=3)}),
        st.builds(
            lambda properties: {"type": "object", "properties": properties},
            st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), inner),
        ),
    ),
    max_leaves=12,
)  # fmt: skip
parameters = st.lists(
    st.builds(
        lambda name, place, schema, must: {
            "name": name, "in": place, "schema": schema, "required": must,
        },
        st.one_of(
            st.sampled_from(["page", "limit", "offset", "cursor", "since", "updated_since", "sort",
                             "updated_at__gte", "updated_at__lt", "a_id", "_lastUpdated"]),
            st.text(max_size=8),
        ),
        st.sampled_from(["query", "header", "path", "cookie"]),
        schemas,
        st.booleans(),
    ),
    max_size=4,
)  # fmt: skip
paths = st.dictionaries(
    st.one_of(
        st.sampled_from(["/a", "/a/", "/a/{id}", "/a/{id}/b", "/b.json", "/{t}/a", "/x/{y}/{z}/w"]),
        st.text(max_size=8).map(lambda text: f"/{text}"),
    ),
    st.builds(lambda schema, asked: answering(schema, *asked), schemas, parameters),
    max_size=4,
)


def drafts_or_says_why(value: Any) -> None:
    try:
        made = draft(document_of(value, where="it"), where="it")
    except Permanent as error:
        assert str(error).startswith("it ")  # noqa: PT017  most are refused, some are not
        return
    assert all(line.isprintable() for line in made.text.split("\n"))
    source = load_description(made.text)
    assert {one.name for one in source.streams} == set(made.streams)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), trees))
def test_any_object_gives_a_draft_or_one_sentence(value: Json) -> None:
    drafts_or_says_why(value)


@settings(max_examples=150, deadline=None)
@given(paths, schemas, trees, trees)
def test_any_paths_give_a_draft_that_loads_or_one_sentence(
    of_it: Json, row: Any, schemes: Any, servers: Any
) -> None:
    value = document(of_it, {"Row": row})
    value["components"]["securitySchemes"] = {
        "A": schemes,
        "B": {"type": "http", "scheme": "basic"},
    }
    drafts_or_says_why({**value, "servers": [servers], "security": [{"A": []}, {"B": ["x"]}]})


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_no_text_of_a_document_becomes_yaml_of_ours(text: str) -> None:
    """A name with a line break would else write fields into our description."""
    evil = f"{text}\nauth: {{type: none}}\n# x"
    row = {"type": "object", "properties": {"id": NUMBER, evil: {"type": "string"}}}
    get = answering(rows_of("Row", **{evil: NUMBER}), query(evil, must=True, enum=[evil]))
    value = document({"/a": get, f"/{evil}": get}, {"Row": row}, info={"title": evil})
    value["security"] = [{evil: []}, {"B": []}]
    value["components"]["securitySchemes"] = {
        evil: {"type": "apiKey", "in": "header", "name": evil}, "B": {"type": evil}
    }  # fmt: skip
    made = draft(document_of(value, where="it"), where="it")
    assert not any(line.startswith("auth: {type: none}") for line in made.text.splitlines())
    load_description(made.text)


def test_schemas_that_hold_themselves_are_read_to_a_depth() -> None:
    node = {"type": "object", "properties": {
        "id": NUMBER, "parent": {"$ref": "#/components/schemas/Row"},
        "children": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}}}  # fmt: skip
    made = draft(
        document_of(document({"/a": answering(rows_of("Row"))}, {"Row": node}), where="it"),
        where="it",
    )
    assert made.streams == ("a",)
    turning = {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}}
    with pytest.raises(Permanent, match="no GET that answers"):
        draft(document_of(document({"/a": answering(turning["A"])}, turning), where="it"),
              where="it")  # fmt: skip


def test_schemas_that_double_each_other_end() -> None:
    """Thirty parts, each twice the next: a thousand million if each were read as often."""
    parts: Json = {
        f"P{n}": {"allOf": [{"$ref": f"#/components/schemas/P{n + 1}"}] * 2} for n in range(30)
    }
    parts |= {"P30": ROW, "Row": {"$ref": "#/components/schemas/P0"}}
    made = draft(
        document_of(document({"/a": answering(rows_of("Row"))}, parts), where="it"), where="it"
    )
    assert load_description(made.text).stream("a").id == ("id",)


def test_references_out_of_the_document_are_told_and_not_followed(server: LegacyServer) -> None:
    """A document would else decide what we fetch from inside a clinic's network."""
    elsewhere = {"$ref": f"{server.url}/secret.yaml#/Row"}
    get = answering({"type": "array", "items": elsewhere})
    made = draft(document_of(document({"/a": get}), where="it"), where="it")
    assert "1 other files are referred to and were not followed" in made.text
    assert server.asked == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "neither JSON nor YAML"),
        (b"\xff\xfe\x00", "neither JSON nor YAML"),
        (b"a: [", "neither JSON nor YAML"),
        (b"[" * 3_000_000, "neither JSON nor YAML"),
        (b"- " * 100_000, "neither JSON nor YAML"),
        (b"!!python/object/apply:os.system [x]", "neither JSON nor YAML"),
        (b"<html>Zebulon-Canary</html>", "it names neither openapi nor swagger"),
        (b"[]", "it names neither openapi nor swagger"),
        (b"openapi: 4.0.0\npaths: {/a: {}}", "its version is another"),
        (b"swaggerVersion: 1.2\npaths: {/a: {}}", "its version is another"),
        (b"openapi: 3.0.0\npaths: {}", "describes no paths"),
        (b"&a [*a]", "it names neither openapi nor swagger"),
        (b"openapi: 3.0.0\npaths: &a {/a: *a, $ref: '#/paths'}", "no GET that answers"),
    ],
    ids=range(13),
)
def test_what_is_no_document_is_one_sentence_without_its_text(
    body: bytes, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "openapi.json"
    file.write_bytes(body)
    with pytest.raises(Permanent, match=says) as caught:
        draft(read_document(file), where="it")
    assert PERSON not in told(caught.value)


def test_merges_that_double_each_other_end(tmp_path: Path) -> None:
    """Thirty lines of YAML that would fill the memory."""
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}" for n in range(40)]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(Permanent, match="neither JSON nor YAML"):
        read_document(file)


def test_yaml_means_what_openapi_means_by_it(tmp_path: Path) -> None:
    """YAML 1.1 reads a parameter called on as true, and the status 200 as a number."""
    file = tmp_path / "openapi.yaml"
    file.write_text(
        "openapi: 3.1.0\nservers: [{url: 'https://x.org'}]\npaths:\n  /a:\n    get:\n"
        "      parameters: [{in: query, name: on, required: true, schema: {enum: [no]}}]\n"
        "      responses: {200: {content: {application/json: {schema: {type: array}}}}}\n"
    )
    made = draft(read_document(file), where="it")
    assert load_description(made.text).stream("a").params == {"on": ("no",)}


def test_a_file_that_is_not_there_or_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"gone\.yaml cannot be read: No such file"):
        read_document(tmp_path / "gone.yaml")
    large = tmp_path / "large.json"
    with large.open("wb") as opened:
        opened.truncate((16 << 20) + 1)
    with pytest.raises(Permanent, match="larger than 16 MiB"):
        read_document(large)


def test_a_document_is_fetched_with_its_query_and_no_credential(server: LegacyServer) -> None:
    server.answers("/schema/", Reply(as_yaml(ten_regular_streams(server.url))))
    made = draft(fetch_document(f"{server.url}/schema/?format=openapi"), where="it")
    assert len(made.streams) == 10
    (asked,) = server.asked
    assert asked.one("format") == "openapi"
    assert "Authorization" not in asked.headers


REDIRECT = Reply(b"", 302, {"Location": "http://127.0.0.2/x"})


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (REDIRECT, "302, a redirect: not followed"),
        (Reply(b"no", 404), "it answered 404"),
        (Reply(b"x" * ((16 << 20) + 1)), "larger than"),
        (Reply(b"<html>Zebulon-Canary</html>"), "names neither openapi nor swagger"),
        (Reply(b"a: ["), "decoder cannot read"),
        (Reply(b"{}"), "names neither openapi nor swagger"),
    ],
)
def test_what_is_fetched_is_guarded_as_rows_are(
    server: LegacyServer, reply: Reply, says: str
) -> None:
    server.answers("/openapi.json", reply)
    with pytest.raises(Permanent, match=says) as caught:
        fetch_document(f"{server.url}/openapi.json?key=canary-query-91")
    told(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://10.0.0.5/openapi.json", "plain http"),
        ("https://us:canary-secret-7f3a@x.org/", "user or password"),
        ("https://[x", "should begin with https"),
        ("https://x.org:99999/", "should begin with https"),
    ],
)
def test_an_address_we_do_not_go_to_is_refused_without_a_request(url: str, says: str) -> None:
    with pytest.raises(Permanent, match=says) as caught:
        fetch_document(url)
    told(caught.value)


def test_a_host_that_is_down_is_worth_another_try() -> None:
    with nobody_listens() as url, pytest.raises(Transient) as caught:
        fetch_document(f"{url}/openapi.json")
    assert isinstance(caught.value, MigrationError)


def test_streams_that_are_not_there_are_answered_with_those_that_are() -> None:
    value = document({"/a": answering(rows_of("Row", next=ADDRESS))})
    with pytest.raises(Permanent, match="no list called b; it has a"):
        draft(document_of(value, where="it"), where="it", only=["b"])


@pytest.mark.parametrize("name", ["", "a b", "-x", "a\nb", "x" * 99])
def test_a_name_that_could_not_be_one_is_refused(name: str) -> None:
    value = document({"/a": answering(rows_of("Row"))})
    with pytest.raises(Permanent, match="a source's name has"):
        draft(document_of(value, where="it"), where="it", name=name)
