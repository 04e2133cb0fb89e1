"""The only room that speaks Dagster: assets, partitions, checks, sensors, schedules, jobs.

build         what Dagster loads, assembled
assets, specs one asset per type, and how it presents itself
launch        what a person may ask of a run
pulling       what a run has to pull; taking turns with others
resuming      which runs belong together, and what they need not do again
following     the sensor (``probing`` asks, ``back_off`` remembers)
incremental   the pull since the marks, and the nightly one
sweeps, reconciling, purging, redelivery, cutovers, freshness  further jobs, schedules, checks
metadata, checks  what is reported and claimed
failing       what may be shown of an error, and whether to try again
retries       retries that Dagster owes and does not start
partitions, pools, keys, orphans

Belongs here: how the pipeline is launched, watched and gated. Does not belong here: what it does
to a row. Everything is made by functions from the mappings that were discovered, so that a new
mapping file needs no change here. (No ``from __future__ import annotations``: Dagster reads the
annotations of these modules.)
"""
