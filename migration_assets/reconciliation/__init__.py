"""What it all adds up to, and whether Medplum holds it: balance, comparison, report.

Belongs here: reading the account and Medplum and comparing them. Does not belong here: changing
either. Medplum is asked by search, never by id: after a conflict a read by id may show a resource
that was rolled back (contract §3, ghosts).
"""
