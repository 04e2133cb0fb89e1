"""What a person does next about a unit that did not arrive, by reason and decision (pure).

Belongs here: the sentence for each reason. Does not belong here: doing it.
"""

from migration_assets.manifest import Choice, DeadLetter, State

_BY_REASON = {
    "awaiting-reference": "none if the row it refers to will come; else mend the source",
    "duplicate-key": "mend the source, or say which is right: redeliver --believe KEY",
    "identifier-collision": "two rows claim one identifier: accept one, redeliver the other",
    "edited-in-medplum": "decide who is right: accept, or redeliver --overwrite",
    "edited-on-both-sides": "decide which version counts: write-back --decide N --choice …",
    "deleted-in-medplum": "decide who is right: accept, or redeliver --overwrite",
    "duplicate-in-medplum": "merge or delete the surplus resource in Medplum, then redeliver",
    "mapping-error": "mend the mapping, raise its version, then redeliver",
    "needs-transaction-bundles": "have the project feature transaction-bundles on; redeliver",
    "resource-too-large": "leave its bulk out in the mapping, or accept",
    "probable-duplicate": "merge them at the source; if they are two people, redeliver",
    "undone": "mend what was wrong with the run, then redeliver",
    "unmapped-code": "add the code to terminology/maps, raise the version, then redeliver",
}
_SKIPPED = {
    "superseded-by-decision": "none: another row was believed; redeliver --believe changes that",
    "superseded-by-change": "none: the row changed at the source since it was believed",
}
_BY_BEGINNING = {
    "medplum-": "see the outcome code; mend the mapping or the project, then redeliver",
    "id-": "give the row a usable key at the source",
    "row-": "mend the row at the source, or the mapping's row model; then redeliver",
}
_OTHERWISE = "mend the row at the source, or the mapping; then redeliver"


def next_step(letter: DeadLetter) -> str:
    """What is to be done, and by when, if anything."""
    decided = letter.decision
    if letter.state is State.SKIPPED:
        return _SKIPPED.get(letter.reason, "none: a rule leaves it out")
    if not letter.open:
        return "none: accepted"
    by = f" by {decided.due}" if decided and decided.due else ""
    if decided and decided.choice is Choice.DEFER:
        return f"look again{by}"
    if decided and decided.choice is Choice.REDELIVER and decided.at and decided.at > letter.since:
        return f"redeliver{by}"
    return _for_reason(letter.reason) + by


def _for_reason(reason: str) -> str:
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    beginnings = (said for begin, said in _BY_BEGINNING.items() if reason.startswith(begin))
    return next(beginnings, _OTHERWISE)
