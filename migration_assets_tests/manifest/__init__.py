"""Tests of the account, on SQLite and PostgreSQL."""
