"""Tests of migration_assets.terminology."""
