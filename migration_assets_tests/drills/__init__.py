"""Drills: every process of an installation is killed once, while it works; nothing is lost.

Belongs here: real processes (code server, daemon, run workers, Celery workers) on real storage, a
real clinic API, the Medplum sandbox, and waits on conditions, never for luck.
"""
