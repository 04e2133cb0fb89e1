"""One legacy API: where it is, who we are to it, and its streams.

Belongs here: the description as a whole. Does not belong here: reading it from a file
(``loading``) or resolving what it takes from the environment (``legacy.environment``).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator

from migration_assets.errors import Permanent
from migration_assets.legacy.description.authentication import AuthDescription, NoAuth
from migration_assets.legacy.description.http import Http, Limit
from migration_assets.legacy.description.problems import sentences
from migration_assets.legacy.description.shape import (
    Described,
    EnvironmentReference,
    TextOrReference,
)
from migration_assets.legacy.description.stream import Stream, Template
from migration_assets.legacy.origins import base_url_problem

Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]

_CREDENTIAL_HEADERS = ("authorization", "cookie", "api-key", "apikey", "token", "secret")


class Source(Described):
    """A legacy API.

    ``defaults`` is the template of every stream: a listed one overrides it field by field, and one
    that is not listed is the template itself (if it says enough).

    ``budget`` names whose requests the ``limits`` count, by default the source's own: descriptions
    that go out with one credential say the same name, and the same limits.
    """

    name: Name
    base_url: TextOrReference
    auth: AuthDescription = NoAuth()
    headers: Mapping[str, TextOrReference] = {}
    limits: tuple[Limit, ...] = ()
    budget: Name | None = None
    http: Http = Http()
    defaults: Template | None = None
    streams: tuple[Stream, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _listed_streams_inherit_the_defaults(cls, raw: Any) -> Any:
        """Inherit before validating, so that a stream's own ``cursor: null`` means no cursor."""
        if not isinstance(raw, dict):
            return raw
        defaults, streams = raw.get("defaults"), raw.get("streams")
        if not isinstance(defaults, dict) or not isinstance(streams, list):
            return raw
        merged = [{**defaults, **one} if isinstance(one, dict) else one for one in streams]
        return {**raw, "streams": merged}

    @field_validator("headers")
    @classmethod
    def _no_credential_among_the_headers(
        cls, value: Mapping[str, str | EnvironmentReference]
    ) -> Mapping[str, str | EnvironmentReference]:
        for name, content in value.items():
            if isinstance(content, str) and any(
                word in name.lower() for word in _CREDENTIAL_HEADERS
            ):
                raise ValueError("a header with a credential takes {env: NAME_OF_THE_VARIABLE}")
        return value

    @model_validator(mode="after")
    def _whole_is_sound(self) -> Self:
        if isinstance(self.base_url, str):
            problem = base_url_problem(self.base_url, allow_plain_http=self.http.allow_plain_http)
            if problem:
                raise ValueError(f"base_url {problem}")
        names = [stream.name for stream in self.streams]
        if len(set(names)) != len(names):
            raise ValueError("two streams have the same name")
        self._parents_are_above()
        if self.budget is not None and not self.limits:
            raise ValueError("budget shares limits, but there are none: say the limits too")
        if not names and self.defaults is None:
            raise ValueError("needs streams, or defaults for streams that are not listed")
        return self

    def _parents_are_above(self) -> None:
        parents = {one.name: one.parent.stream for one in self.streams if one.parent is not None}
        for name in parents:
            above, steps = parents.get(name), 0
            while above is not None:
                above, steps = parents.get(above), steps + 1
                if steps > len(parents):
                    raise ValueError(f"stream {name} is its own parent, or its parent's parent")

    def stream(self, name: str) -> Stream:
        """The stream of that name, listed or made from ``defaults``.

        Raises:
            Permanent: the description does not know it and has no sufficient ``defaults``.
        """
        for stream in self.streams:
            if stream.name == name:
                return stream
        if self.defaults is None:
            raise Permanent(
                f"source {self.name}: stream {name} is not in the description, "
                "and it has no defaults: add it under streams"
            )
        said = {field: getattr(self.defaults, field) for field in self.defaults.model_fields_set}
        try:
            return Stream.model_validate({**said, "name": name})
        except ValidationError as error:
            found = sentences(error)
        raise Permanent(
            f"source {self.name}: stream {name} cannot be made from defaults: {'; '.join(found)}"
        )
