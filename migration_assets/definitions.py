"""What Dagster loads: ``defs``. Nothing else belongs here."""

from migration_assets.defs.build import build_definitions

defs = build_definitions()
