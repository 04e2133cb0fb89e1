"""The account's codes in plain words, for people who know patients and not databases.

Belongs here: sentences. Does not belong here: numbers. A code that has no sentence here is told as
it is, with blanks for hyphens: a new one is never hidden.
"""

from typing import Final

STATES: Final = {
    "migrated": "Written to Medplum, and Medplum confirmed it.",
    "unchanged": "Medplum already held exactly this, so nothing had to be written.",
    "skipped": "Left out on purpose: a written rule says so.",
    "rejected": "Medplum refused it for good.",
    "quarantined": "Held back: a person must look at it, or it waits for another record.",
    "pending": "Not decided yet: it is still to be sent.",
}
"""What each outcome of a row means."""

LAW: Final = (
    "Every row that the old system gave us is owed exactly one outcome. "
    "So for every kind of record the outcomes must add up to the number of rows:"
)
LAW_SUM: Final = "rows = migrated + unchanged + skipped + rejected + quarantined + pending"

PHASES: Final = {
    "rehearse": "it is rehearsed, and nothing is written",
    "dual_write": "the services write to both systems; the old one counts",
    "backfill": "history is being copied; the old system counts",
    "read": "staff read it from Medplum; the old system still counts",
    "write": "the record in Medplum counts; nothing is overwritten any more",
    "retired": "the old system is out of use for it",
}

REASONS: Final = {
    "unmapped-code": "The row has a code that no table translates.",
    "missing-code": "A code that must be there is empty.",
    "missing-date": "A date that must be there is empty.",
    "missing-reference": "The row does not say whom or what it belongs to.",
    "impossible-date": "The date does not exist in the calendar.",
    "unreadable-date": "The date is written in a way that could mean several days.",
    "zone-less-time": "The time does not say in which time zone it is.",
    "awaiting-reference": "It refers to a record that has not arrived.",
    "duplicate-key": "Several rows claim to be the same record.",
    "identifier-collision": "Its identifier is claimed by another row as well.",
    "superseded-by-decision": "Another row with the same key was chosen by a person.",
    "superseded-by-change": "A newer row took its place.",
    "deleted-in-legacy": "It was deleted in the old system before it was ever written.",
    "edited-in-medplum": "Somebody changed the record in Medplum, and the row changed as well.",
    "deleted-in-medplum": "Somebody deleted the record in Medplum.",
    "duplicate-in-medplum": "Medplum has several records with this identifier.",
    "probable-duplicate": "It may be the same person as another patient.",
    "undone": "A run that had written it was taken back.",
    "mapping-error": "The translation has a fault; a programmer must look.",
    "payload-purged": "Its row is not kept any more, so it cannot be translated again.",
    "id-missing": "The row came without a key.",
    "id-unusable": "The row came without a usable key.",
    "identifier-padded": "The key has blanks around it, and may be another key without them.",
    "cohort-unknown": "Nobody knows which part of the clinic it belongs to.",
    "cohort-ambiguous": "It belongs to several parts of the clinic, which stand differently.",
    "cohort-moved": "It went to another part of the clinic, and Medplum counts in one of the two.",
    "medplum-owns-cohort": "The old system changed it after Medplum took over for its part of "
    "the clinic: the change was not carried over.",
    "cohort-rehearses": "Its part of the clinic is only rehearsed so far.",
    "edited-on-both-sides": "It was changed in both systems: a person decides which one counts.",
}

CHOICES: Final = {
    "fix": "to be corrected",
    "redeliver": "to be sent again",
    "accept": "accepted as it is",
    "defer": "put off",
}

KINDS: Final = {
    "missing": "on account, not found in Medplum",
    "unexpected": "in Medplum under our identifiers, not on account",
    "duplicate": "there more than once",
    "other-id": "there, but as another record than the one on account",
    "still-found": "deleted by the account, and still found",
    "changed": "content differs from what Medplum confirmed",
    "reference-missing": "a link that was delivered is gone",
    "reference-wrong": "a link leads to another record than the row names",
    "reference-dangling": "a link leads to a record that no search finds",
}

WRITE_BACKS: Final = {
    "written": "written to the old system",
    "unchanged": "the old system said the same already",
    "conflict": "changed on both sides: a person decides",
    "refused": "not taken by the old system",
    "skipped": "decided or left out on purpose",
    "open": "still to be written",
}
"""What became of a change that somebody made in Medplum."""

LANDED: Final = {
    "new": "new",
    "changed": "changed",
    "same": "known already",
    "stale": "older than what was known",
    "quarantined": "held back",
}
"""How the rows of services' events landed."""

CHECKED: Final = {
    "identifiers": "is each record there, once?",
    "content": "is its content as delivered?",
    "references": "do its links lead where they should?",
}

WAYS: Final = {
    "repeatable": "The same patients in every report, as long as they are on account.",
    "random": "Drawn by lot; the seed below draws the same ones again.",
    "risk": "Looked for, because they are where migrations go wrong.",
}

"""How patients are chosen."""

FATES: Final = {
    "same": ("=", "same text"),
    "rewritten": ("≈", "in FHIR's way"),
    "left out": ("\N{EN DASH}", "left out on purpose"),
    "read": ("·", "read by the migration itself"),
    "unread": ("!", "not carried over"),
    "withheld": ("?", "not told: there is no record"),
}
"""What became of a field of a row: a sign, and what it means."""


def reason_told(reason: str) -> str:
    """A reason in a sentence."""
    return REASONS.get(reason, reason.replace("-", " ").capitalize() + ".")
