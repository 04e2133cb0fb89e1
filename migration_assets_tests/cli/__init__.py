"""Tests of the `migration` command, as a person runs it."""
