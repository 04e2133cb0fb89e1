"""A clinic to try the product in: a legacy REST API, a Medplum sandbox, invented patients.

Belongs here: what stands on the other side of the product's two HTTP connections, and the command
that shows a migration between them. Does not belong here: any way around the pipeline. Nothing of
it is imported by a real installation.
"""
