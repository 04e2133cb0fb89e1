"""Tests of migration_assets.mappings."""
