"""The demo's servers for any command that finds the demo's settings.

Belongs here: the one hook that ``definitions`` and the CLI hand to ``Connections``. It imports the
rest of the demo only when the settings are the demo's: a real installation has no such packages.
"""

from migration_assets.settings import Settings


def before_use(settings: Settings) -> None:
    """Have the demo's servers running while this process lives, if the settings are the demo's."""
    if settings.demo_home is not None:
        from migration_assets.demo.services import ensure  # noqa: PLC0415 - the demo's extra only

        ensure(settings)
