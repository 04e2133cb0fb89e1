"""The tests, one folder per room of ``migration_assets``."""
