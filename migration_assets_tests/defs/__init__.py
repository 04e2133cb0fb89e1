"""Tests of the room that speaks Dagster, on a real instance."""
