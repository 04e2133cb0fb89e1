"""The variables a description names, read once and checked before the first request.

Belongs here: turning references into values. Does not belong here: where the environment comes
from (an argument) or which headers the values go into (``auth``).
"""

from collections.abc import Iterator, Mapping

from migration_assets.errors import Permanent
from migration_assets.legacy.description import EnvironmentReference, Source
from migration_assets.legacy.description.authentication import OAuth2ClientCredentials, secrets_of


def values_for(source: Source, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Every variable the source names, by name.

    Raises:
        Permanent: naming all that are missing, blank, or unfit to be sent.
    """
    names = list(dict.fromkeys(reference.env for reference in _references(source)))
    missing = [name for name in names if not environ.get(name, "").strip()]
    if missing:
        raise Permanent(
            f"source {source.name} needs {', '.join(missing)} in the environment: "
            "set what is missing or blank and start again"
        )
    # A line break at the end comes from $(cat file); requests would quote it in its error.
    unfit = [name for name in names if not _fit_to_send(environ[name])]
    if unfit:
        raise Permanent(
            f"source {source.name}: {', '.join(unfit)} holds a line break, a blank at an end or "
            "an unprintable character: set it without"
        )
    return {name: environ[name] for name in names}


def text_of(value: str | EnvironmentReference, values: Mapping[str, str]) -> str:
    """The text itself, or the value of the variable it refers to."""
    return value if isinstance(value, str) else values[value.env]


def _references(source: Source) -> Iterator[EnvironmentReference]:
    places = [source.base_url, source.http.proxy, *source.headers.values()]
    if isinstance(source.auth, OAuth2ClientCredentials):
        places.append(source.auth.token_url)
    yield from (place for place in places if isinstance(place, EnvironmentReference))
    yield from secrets_of(source.auth)


def _fit_to_send(value: str) -> bool:
    return value == value.strip() and value.isprintable()
