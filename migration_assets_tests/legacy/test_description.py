"""A description is refused with the place and the reason, and never with what it held."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import Permanent
from migration_assets.legacy.description import Source, load_description
from migration_assets_tests.legacy.conftest import SECRET

MINIMAL: dict[str, Any] = {
    "name": "clinic",
    "base_url": "https://legacy.example.org/api",
    "streams": [{"name": "patients", "path": "patients", "id": "id"}],
}
STREAM = MINIMAL["streams"][0]


def load(**changes: Any) -> Source:
    return load_description(yaml.safe_dump({**MINIMAL, **changes}))


def load_stream(**changes: Any) -> Source:
    return load(streams=[{**STREAM, **changes}])


def cursor(**changes: Any) -> dict[str, Any]:
    return {"cursor": {"field": "changed", **changes}}


WALK = {"type": "walk", "within_tie": {"type": "page"}}
CHAINS: list[dict[str, Any]] = [
    {"type": "next_url"},
    {"type": "next_url_header", "header": "Next-Page"},
    {"type": "link_header"},
    {"type": "cursor", "path": "token", "param": "at"},
    {"type": "cursor_header", "header": "Next-Token", "param": "at"},
]


def paged(**pager: Any) -> dict[str, Any]:
    return {"pager": {"type": "offset", **pager}, **cursor()}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"auth": {"type": "bearer", "token": SECRET}}, "auth.bearer.token: a secret is written"),
        ({"auth": {"type": "bearer", "token": {"env": SECRET + "!"}}}, "env takes the name"),
        ({"auth": {"type": "bearer", "token": {SECRET: 1}}}, "a secret is written as"),
        ({"auth": {"type": SECRET}}, "auth: type should be one of 'none'"),
        ({"auth": {"token": SECRET}}, "auth: should say its type"),
        ({"headers": {"X-Api-Key": SECRET}}, "headers: a header with a credential takes"),
        ({"headers": {"Accept": [SECRET]}}, "headers.Accept: should be text or"),
        ({"base_url": f"https://us:{SECRET}@x.org"}, "base_url holds a user or password"),
        ({"base_url": f"https://x.org/?key={SECRET}"}, "base_url should hold no query"),
        ({"base_url": SECRET}, "base_url should begin with https://"),
        ({"base_url": "http://x.org"}, "base_url is plain http"),
        ({"base_url": "https://x.org:99999"}, "base_url should begin"),
        ({"base_url": "https://[x"}, "base_url should begin"),
        ({"http": {"verify": False}}, "http.verify.*: TLS is always verified"),
        ({"http": {"deadline": 0}}, "http.deadline: Input should be greater than 0"),
        ({"limits": [{"requests": 0, "per_seconds": 1}]}, r"limits\[0\].requests"),
        ({"budget": "our-key"}, "say the limits too"),
        ({"streams": []}, "needs streams, or defaults"),
        ({"streams": [STREAM, STREAM]}, "two streams have the same name"),
        ({"colour": SECRET}, "colour: is not a field"),
        ({"streams": "patients"}, "streams: Input should be a valid tuple"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Permanent, match=says) as caught:
        load(**changes)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": None}, r"streams\[0\].id"),
        ({"id": []}, r"streams\[0\]: needs id"),
        ({"path": "https://elsewhere.org/x"}, "should be relative to base_url"),
        ({"path": "../admin"}, "stay below it"),
        ({"path": "x?a=b"}, "use params"),
        ({"select": "a..b"}, r"streams\[0\].select"),
        ({"params": {"deleted": True}}, "write it in quotes"),
        ({"params": {"since": 1.5}}, "write it in quotes"),
        ({"params": {"api_key": SECRET}}, "use auth with type: query"),
        ({"params": {"page": "1"}, "pager": {"type": "page"}}, "parameter of the pager"),
        ({"pager": {"type": "offset", "size": 2, "overlap": 2}}, "never move on"),
        (cursor(format="ISO"), "should be iso, epoch_s"),
        (cursor(tz="Mars/Olympus"), "IANA zone"),
        (cursor(send="since"), "exactly once"),
        (cursor(until_param="to"), "until_param without param"),
        (cursor(format="%d.%m.%Y %H:%M"), "carries no zone"),
        (cursor(precision_seconds=86400), "at least 86400"),
        (cursor(tz="Europe/Berlin"), "at least 3600"),
        (paged(order="change_time", overlap=5), "use type: walk"),
        (paged(order="change_time_descending"), "a deletion while we read hides a row"),
        (paged(), "are lost until they change again"),
        ({**paged(), "sweep": True}, "are lost until they change again"),
        (
            paged(order="fixed"),
            "that one is lost for good; give an offset an overlap, or say sweep",
        ),
        ({**paged(), "pager": {"type": "page", "order": "fixed"}}, "that one is lost for good"),
        *(({"pager": pager, **cursor()}, "say keyset: true if it names") for pager in CHAINS),
        ({"pager": WALK, **cursor()}, "it needs cursor.param"),
        ({"pager": WALK}, "it needs cursor.param"),
        ({"pager": WALK, **cursor(param="since", inclusive=False)}, "includes equality"),
    ],
)
def test_a_stream_that_would_lose_rows_or_cannot_be_meant_is_refused(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Permanent, match=says) as caught:
        load_stream(**changes)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {**paged(order="fixed"), "sweep": True},
        paged(order="fixed", accepted_loss="the old system is read-only since May"),
        paged(order="fixed", overlap=5),
        paged(overlap=5),
        paged(accepted_loss="the old system is read-only since May"),
        {**paged(order="change_time_descending"), "sweep": True},
        {"pager": {"type": "offset"}},
        {"pager": WALK, **cursor(param="since")},
        *({"pager": {**pager, "keyset": True}, **cursor()} for pager in CHAINS),
        *({"pager": pager, "sweep": True, **cursor()} for pager in CHAINS),
        *({"pager": pager} for pager in CHAINS),
        *({"pager": {"type": "walk", "within_tie": one}, **cursor(param="a")} for one in CHAINS),
    ],
)
def test_paging_that_loses_nothing_for_good_is_taken(changes: dict[str, Any]) -> None:
    load_stream(**changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "this is not YAML at line 1"),
        ("name: x\nname: y\n", "a field stands twice at line 1"),
        ("x: !!python/object:os.system {}\n", "this is not YAML"),
        ("- just\n- a list\n", "valid dictionary"),
        ("no such file", "No such file"),
        ("when: 2024-99-99\n", "not YAML"),
    ],
)
def test_text_that_is_no_description_is_refused(text: str, says: str) -> None:
    with pytest.raises(Permanent, match=says):
        load_description(text)


def test_errors_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "clinic.yaml"
    file.write_text(yaml.safe_dump({**MINIMAL, "streams": [{"name": "patients"}]}))
    with pytest.raises(Permanent, match=r"clinic\.yaml.*\n.*streams\[0\]: needs path and id"):
        load_description(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(Permanent, match="it is not UTF-8"):
        load_description(file)


DEFAULTS = {
    "path": "v1/{stream}",
    "select": "data",
    "id": "uuid",
    "pager": {"type": "next_url", "keyset": True},
    "cursor": {"field": "updated_at", "param": "since"},
}


def test_a_listed_stream_says_only_what_is_different() -> None:
    """Paging that is not inherited reads one page, silently (dlt#2586)."""
    own = [{"name": "visits", "id": ["visit", "line"], "cursor": None}]
    stream = load(defaults=DEFAULTS, streams=own).stream("visits")
    assert (stream.relative_path, stream.select) == ("v1/visits", "data")
    assert stream.id == ("visit", "line")
    assert stream.pager.type == "next_url"
    assert stream.cursor is None


def test_a_stream_that_is_not_listed_is_made_from_the_defaults() -> None:
    stream = load(defaults=DEFAULTS, streams=[]).stream("allergies")
    assert stream.relative_path == "v1/allergies"
    assert stream.id == ("uuid",)
    assert stream.cursor is not None
    assert stream == load(defaults=DEFAULTS, streams=[]).stream("allergies")


def test_an_unknown_stream_is_refused_by_name() -> None:
    with pytest.raises(Permanent, match="stream allergies is not in the description"):
        load().stream("allergies")
    with pytest.raises(Permanent, match="allergies cannot be made from defaults: needs id"):
        load(defaults={"path": "{stream}"}).stream("allergies")


def test_a_parameter_may_repeat_and_may_be_a_number() -> None:
    stream = load_stream(params={"q[]": ["a", "b"], "size": 5}).stream("patients")
    assert stream.params == {"q[]": ("a", "b"), "size": ("5",)}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_plain_http_may_go_to_this_machine(host: str) -> None:
    load(base_url=f"http://{host}:8080/api")


def test_plain_http_elsewhere_must_be_switched_on() -> None:
    load(base_url="http://10.0.0.5/api", http={"allow_plain_http": True})


def test_nothing_of_a_description_can_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().name = "other"  # type: ignore[misc]  # that is the point


trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just(SECRET)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*Source.model_fields, *DEFAULTS, "env", "type"]), inner),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*Source.model_fields]), trees))
def test_any_tree_is_a_description_or_one_clear_error(tree: dict[str, Any]) -> None:
    try:
        load_description(yaml.safe_dump({**MINIMAL, **tree}))
    except Permanent as error:
        assert SECRET not in str(error)  # noqa: PT017  most trees are refused, some are not
