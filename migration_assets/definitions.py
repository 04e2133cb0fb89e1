"""What Dagster loads: ``defs``. Nothing else belongs here.

In the demo's folder the settings name the demo's state, and the servers that go with it are
started when a run or a sensor first needs them.
"""

from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.settings import Settings, read_settings


def _before_use(settings: Settings) -> None:
    if settings.demo_home is not None:
        from migration_assets.demo.services import ensure  # noqa: PLC0415 - the demo's extra only

        ensure(settings)


defs = build_definitions(connections=Connections(read_settings(), before_use=_before_use))
