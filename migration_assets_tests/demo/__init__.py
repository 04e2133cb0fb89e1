"""The clinic to try it in, and the Medplum sandbox."""
