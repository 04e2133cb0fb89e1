"""What Dagster loads: ``defs``. Nothing else belongs here."""

from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.demo.on_demand import before_use
from migration_assets.settings import read_settings

defs = build_definitions(connections=Connections(read_settings(), before_use=before_use))
