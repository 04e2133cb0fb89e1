"""Tests of the legacy room: real sockets, a hostile server, windows and pagers by property."""
