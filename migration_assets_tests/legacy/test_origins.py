"""Where a URL leads is told from what it says, not from what it looks like."""

import pytest

from migration_assets.legacy.origins import base_url_problem, is_loopback, origin_of, place


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.example.org/x", ("https", "a.example.org", 443)),
        ("https://a.example.org:443", ("https", "a.example.org", 443)),
        ("http://[::1]:81/", ("http", "::1", 81)),
        ("https://a.example.org@evil.org/", None),
        ("https://a.example.org:x/", None),
        ("https://[a/", None),
        ("ftp://a.example.org/", None),
        ("//a.example.org/", None),
        ("", None),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: tuple[str, str, int] | None) -> None:
    assert origin_of(url) == origin


def test_a_place_never_shows_a_query() -> None:
    assert place("https://a.example.org:8443/api?key=1#x") == "https://a.example.org:8443/api"
    assert place("http://[::1]/api") == "http://[::1]/api"
    assert place("https://u:p@a.example.org/") == "(not an http address)"


@pytest.mark.parametrize("host", ["127.0.0.1.example.org", "localhost.example.org", "10.0.0.1"])
def test_a_host_that_only_looks_like_this_machine_is_not(host: str) -> None:
    origin = origin_of(f"http://{host}/")
    assert origin is not None
    assert not is_loopback(origin)
    assert base_url_problem(f"http://{host}/", allow_plain_http=False)
