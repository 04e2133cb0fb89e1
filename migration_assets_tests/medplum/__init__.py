"""Tests of the room that speaks to Medplum, against the sandbox over HTTP."""
