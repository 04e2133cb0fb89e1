"""Migrate a legacy health system into Medplum without losing a record.

The map of the house, a line a room:

definitions     what Dagster loads
cli/            the ``migration`` command, a file a verb
defs/           the only room that speaks Dagster
connections     settings become an open source, manifest and Medplum project
cutting_over    and what a cutover works with
settings        the only reader of the environment (``retention``, ``thresholds``: what it reads)
errors          the three fates: Transient, Permanent, Quarantine
run             what one run holds on to
pipeline        the spine: land, prepare, deliver, settle
sweeping        when a row that did not come is believed to be gone
steps/          the steps of a run, which these two put in order
operations/     what people do: undo, redeliver, remap, rehearse, repair, purge
claims/         what is claimed of a type, and the gates that stop what rests on it
mapping         the words a mapping file is written with
adoption/       which phase a type is in, what that permits, and what comes next
switching/      the controlled change of authority: evidence, phases, flags
legacy/         pulls rows from the legacy REST API; knows no FHIR
manifest/       the account of every row; the only SQL
mappings/       one file per FHIR type
terminology/    concept maps as data, and one reader
fhir/           elements, identifiers, references, fingerprints, validation
medplum/        auth, quota, bundles, delivery, outcomes
reconciliation/ balance, comparison with Medplum
profiling/      what legacy rows are like, and the mapping register
signoff/        the report that people sign (``migration report``)
counting        one row, two rows
private_files   who may read a file (``private_addresses``: what the HTTP library may log)
inbox/          the door through which services send their own events
demo/           a clinic to try it in
bots/           Medplum Bots that take part, in TypeScript: send to the inbox, pull, transform
starter/        the files of a new project (``migration new``)
"""
