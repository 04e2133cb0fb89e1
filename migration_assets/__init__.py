"""Migrate a legacy health system into Medplum without losing a record.

The map of the house, a line a room:

definitions     what Dagster loads
cli             the ``migration`` command
settings        the only reader of the environment
errors          the three fates: Transient, Permanent, Quarantine
connections     settings become an open source, manifest and Medplum project
run             what one run holds on to
pipeline        the spine: land, prepare, deliver, settle
landing         one page on its way to the account
sweeping        when a row that did not come is believed to be gone
clinical_ranges rows by the date of what they record, not of their change
pausing         streams of which too much failed, and thresholds (``thresholds``)
probable_duplicates  patients that may be one person are held
redelivering    what a person sends again
repairing       what a comparison found, put right where the account proves it
undoing         what a run wrote, taken back (``restoration``, ``referring``)
remapping       landed rows under a new mapping version
rehearsing      what a run would do, nothing written (``rehearsed_rows``)
preparation     one unit: row, mapping, validation, fingerprint
resolution      references made literal; identifiers two units claim
relinking       whoever refers to what is under another id now, sent again
settling        Medplum's answers become dispositions
mapping         the words a mapping file is written with
private_addresses  what the HTTP library may log (``private_files``: who may read a file)
adoption/       which phase a type is in, what that permits, and what comes next
switching/      the controlled change of authority: evidence, phases, flags
legacy/         pulls rows from the legacy REST API; knows no FHIR
manifest/       the account of every row; the only SQL
mappings/       one file per FHIR type
terminology/    concept maps as data, and one reader
fhir/           elements, identifiers, references, fingerprints, validation
medplum/        auth, quota, bundles, delivery, outcomes
reconciliation/ balance, comparison, report
profiling/      what legacy rows are like, and the mapping register
signoff/        the report that people sign (``migration report``)
defs/           the only room that speaks Dagster
demo/           a clinic to try it in
starter/        the files of a new project (``migration new``)
"""
