"""What ``migration check`` says of Bots that transform rows: are they there, and do they work?"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from migration_assets.cli.findings import Finding
from migration_assets.errors import MigrationError
from migration_assets.fhir.validation import problems
from migration_assets.mapping import Bot, Mapping, Related, Skip
from migration_assets.medplum import RunsBots, find_bot
from migration_assets.steps.bot_answers import understood


def bots(client: RunsBots, mappings: Iterable[Mapping[Any]]) -> Iterator[Finding]:
    """A finding for each mapping that a Bot transforms for.

    The Bot is executed once, with the mapping's first example, which is nobody's row: whether the
    project's Bots may run at all shows in nothing else.
    """
    for each in mappings:
        if each.transformer is not None:
            yield _finding(client, each, each.transformer)


def _finding(client: RunsBots, mapping: Mapping[Any], bot: Bot) -> Finding:
    claim = f"Bot of {mapping.resource_type}"
    try:
        found = find_bot(client, bot)
        if found.hindrance:
            return Finding(claim, "failed", f"{bot.name}: {found.hindrance}. Deploy it first.")
        if not mapping.examples:
            return Finding(
                claim,
                "warning",
                f"{bot.name} is there, and was not executed: give the mapping an example.",
            )
        answer = client.execute_bot(found.id, orjson.dumps(mapping.examples[0]))
        made = understood(answer, mapping.types)
    except MigrationError as error:
        return Finding(claim, "failed", f"{bot.name}: {error}")
    seen = {"bot": found.id, "version": found.version_id}
    if isinstance(made, Skip):
        return Finding(claim, "ok", f"{bot.name} leaves the example out: {made.reason}", seen=seen)
    resources = made.resources if isinstance(made, Related) else (made,)
    for problem in (found for one in resources for found in problems(one)):
        told = f"{bot.name} makes an invalid resource of the example: {problem.reason}"
        return Finding(claim, "failed", f"{told} at {problem.path}")
    kinds = " + ".join(str(one["resourceType"]) for one in resources)
    return Finding(claim, "ok", f"{bot.name} makes {kinds} of the example", seen=seen)
