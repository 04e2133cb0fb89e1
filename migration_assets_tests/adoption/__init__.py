"""Tests of the adoption room."""
