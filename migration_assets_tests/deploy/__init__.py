"""deploy/: each file in it is loaded by what will read it."""
