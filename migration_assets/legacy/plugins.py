"""Oddities in Python: pagers, credentials and decoders that a description names.

Belongs here: finding what a name stands for. Does not belong here: an expression language; what a
description cannot say is a function somebody wrote, reviewed and tested.

A name is what ``register_…`` was given, or a dotted path to import (``clinic_plugins:kareo``). A
description is as trusted as code in this respect, and only its author's packages are imported.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from migration_assets.errors import Permanent

Options: TypeAlias = Mapping[str, Any]
PagerPlugin: TypeAlias = Callable[..., Any]
"""``(start: PageRequest, options) -> Paging``: a generator of page requests, see ``pagers``."""

AuthPlugin: TypeAlias = Callable[..., Any]
"""``(secrets: Mapping[str, str], options) -> Credential``, see ``auth``."""

DecoderPlugin: TypeAlias = Callable[[bytes], Any]
"""A body to what JSON would have held; raises ``ValueError`` if it is not what it should be."""

_Plugin = TypeVar("_Plugin", bound=Callable[..., Any])
_REGISTERED: dict[str, dict[str, Callable[..., Any]]] = {"pager": {}, "auth": {}, "decoder": {}}


def register_pager(name: str) -> Callable[[_Plugin], _Plugin]:
    """A decorator that gives a pager the name descriptions call it by."""
    return _registering("pager", name)


def register_auth(name: str) -> Callable[[_Plugin], _Plugin]:
    """A decorator that gives a credential's maker the name descriptions call it by."""
    return _registering("auth", name)


def register_decoder(name: str) -> Callable[[_Plugin], _Plugin]:
    """A decorator that gives a decoder the name descriptions call it by."""
    return _registering("decoder", name)


def pager_named(name: str) -> PagerPlugin:
    """The pager of that name."""
    return _named("pager", name)


def auth_named(name: str) -> AuthPlugin:
    """The maker of a credential of that name."""
    return _named("auth", name)


def decoder_named(name: str) -> DecoderPlugin:
    """The decoder of that name."""
    return _named("decoder", name)


def _registering(kind: str, name: str) -> Callable[[_Plugin], _Plugin]:
    def register(plugin: _Plugin) -> _Plugin:
        if _REGISTERED[kind].setdefault(name, plugin) is not plugin:
            raise ValueError(f"another {kind} plug-in is called {name}")
        return plugin

    return register


def _named(kind: str, name: str) -> Callable[..., Any]:
    if name in _REGISTERED[kind]:
        return _REGISTERED[kind][name]
    module, _, attribute = name.partition(":")
    found: Any = None
    if attribute:
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except (ImportError, TypeError, ValueError):  # the last two: no name of a module
            found = None
    if not callable(found):
        raise Permanent(
            f"there is no {kind} plug-in {name}: register it before the source is opened, or name "
            "it as package.module:function"
        )
    return cast("Callable[..., Any]", found)
