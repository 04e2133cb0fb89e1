"""Tests of migration_assets.fhir."""
