"""The only room that speaks Dagster: assets, partitions, checks, sensors, schedules, jobs.

Belongs here: how the pipeline is launched, watched and gated. Does not belong here: what it does
to a row. Everything is made by functions from the mappings that were discovered, so that a new
mapping file needs no change here. (No ``from __future__ import annotations``: Dagster reads the
annotations of these modules.)
"""
