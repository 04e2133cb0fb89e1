"""The schema's history. A released version is never edited: a change is a new file."""
