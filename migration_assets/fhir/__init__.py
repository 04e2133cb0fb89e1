"""FHIR itself: elements, identifiers, references, dates, fingerprints, validation.

Belongs here: what is true of FHIR R4 and of Medplum's reading of it, as pure functions. Does not
belong here: anything about one legacy row (``mappings``) or talking to a server (``medplum``).
"""
