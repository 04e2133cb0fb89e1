"""Pulls rows from a legacy REST API. Knows no FHIR, no SQL and no Dagster.

description/  what a source looks like, as data
environment   the variables a description names
origins       where a URL leads and where we may go
transport     one request, guarded; body bounds and parses it; waits paces retries
auth          credentials; budgets: client-side limits
pagers        which page comes next
timestamps    change times, read strictly and sent to the API's tick
rows          from JSON to PulledRow
pull          the Puller: half-open windows of pages

Belongs here: getting every row there is, exactly as it was sent, and saying which ones cannot be
trusted. Does not belong here: deciding what changed, the high-water mark, stable keys for rows
without one (``manifest``, ``pipeline``).
"""
