"""The sign-off report: what became of every row, told to the people who answer for it.

Belongs here: reading the account, choosing patients for review, and the page. Does not belong
here: asking Medplum or the legacy API: the report says what is on account, and when it was found.
"""
