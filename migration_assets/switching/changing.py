"""Changing the phase of types that move together: refused, or written down and then carried out.

Belongs here: the order of things, and what is refused. Does not belong here: the gates
(``adoption.gates``), their evidence (``evidence``), or telling front ends (``publishing``).

The record comes first and the file second, both under the type's lease: a command that dies in
between leaves a record without an end, and never a phase that nobody can account for. A run that
knows the old phase cannot be writing meanwhile, and one that waits for the lease is told.
"""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration_assets.adoption import Cohort, Phase, Standing, read_adoption
from migration_assets.adoption.declaring import with_phase
from migration_assets.adoption.gates import Bounds, Evidence, Point, gate
from migration_assets.adoption.steps import Step, following, hindrance, step
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.steps.cohorts import note_all


@dataclass(frozen=True, kw_only=True)
class Move:
    """A change of phase as it was asked for, with what its gate found."""

    mapping: Mapping[Any]
    standing: Standing
    becomes: Phase
    evidence: Evidence
    points: tuple[Point, ...]
    cohort: Cohort | None = None
    """Only this part of them; None: all that is in no cohort."""

    @property
    def was(self) -> Phase:
        """The phase that is left."""
        return self.standing.of(self.cohort).phase

    @property
    def kinds(self) -> str:
        """What is moved, for people."""
        part = "" if self.cohort is None else f", cohort {self.cohort.name}"
        return " and ".join(self.mapping.types) + part

    @property
    def step(self) -> Step:
        """What kind of step it is."""
        return step(self.was, self.becomes)

    @property
    def open(self) -> bool:
        """Whether the gate lets it pass: an ordinary step, and everything it asks for holds."""
        return self.step is Step.NEXT and all(each.holds for each in self.points)


def move(
    mapping: Mapping[Any],
    standing: Standing,
    becomes: Phase,
    evidence: Evidence,
    bounds: Bounds,
    cohort: Cohort | None = None,
) -> Move:
    """The move of a mapping's types, or of one cohort of them, to a phase.

    Raises:
        Permanent: they are in it already, or cannot be in it as they are declared.
    """
    part = standing.of(cohort)
    made = Move(
        mapping=mapping,
        standing=standing,
        becomes=becomes,
        evidence=evidence,
        points=gate(part.phase, mapping.resource_type, evidence, bounds),
        cohort=cohort,
    )
    if part.phase is becomes:
        raise Permanent(f"{made.kinds} stands in phase {becomes} already: nothing was changed.")
    why = hindrance(standing, becomes)
    if why:
        raise Permanent(f"{made.kinds} cannot be moved to {becomes}: {why}")
    return made


def refuse(asked: Move, *, force: bool, reason: str | None) -> None:
    """Refuse what is not permitted.

    Raises:
        Permanent: a shut gate, a jump or a step back that is not forced; or forced without a
            reason. Says what mends it.
    """
    if force and not (reason or "").strip():
        raise Permanent('What is forced needs a reason, which is kept: --reason "…".')
    if force or asked.open:
        return
    kinds, ask = asked.kinds, '--force --reason "…"'
    if asked.step is not Step.NEXT:
        next_ones = " or ".join(following(asked.was)) or "none"
        raise Permanent(
            f"{kinds}: from {asked.was} to {asked.becomes} is {asked.step.value}. The next phase "
            f"is {next_ones}; {ask} does it all the same."
        )
    shut = [each for each in asked.points if not each.holds]
    mends = "; ".join(f"{each.said} ({each.mend})" for each in shut)
    raise Permanent(f"{kinds} may not leave {asked.was}: {mends}. {ask} does it all the same.")


def carry_out(
    manifest: Manifest, path: Path, asked: Move, *, by: str, forced: bool, reason: str | None
) -> None:
    """Move the types: written down, put into adoption.toml, written down as done.

    Raises:
        Busy: a run is writing one of the types.
        Permanent: the file cannot be changed, or says something else by now.
    """
    kinds = asked.mapping.types
    cohort = None if asked.cohort is None else asked.cohort.name
    with ExitStack() as held:
        for each in kinds:
            held.enter_context(manifest.lease(each, f"migration phase {each} {asked.becomes}"))
        text = path.read_text(encoding="utf-8")
        now = read_adoption(text, name=path.name)
        if now.standing(kinds[0]) != asked.standing:
            raise Permanent(f"{path.name} was changed meanwhile. Look at it, and ask again.")
        if cohort is not None and any(
            now.standing(each).cohort(cohort) is None
            or now.standing(each).declaration != asked.standing.declaration
            for each in kinds
        ):
            raise Permanent(
                f"{' and '.join(kinds)} are written together and move together: declare the same "
                f"cohorts, with the same terms, under each of them in {path.name}."
            )
        changed = with_phase(text, kinds, asked.becomes, cohort=cohort, name=path.name)
        # Before it is Medplum's: who is in it, so that a later change of a row hides nothing.
        note_all(manifest, asked.mapping, asked.standing)
        numbers = manifest.switching.begin(
            {each: now.standing(each).of(asked.cohort).phase.value for each in kinds},
            asked.becomes.value,
            cohort=cohort,
            by=by,
            forced=forced and not asked.open,
            reason=reason,
            evidence=dict(asked.evidence.as_json())
            | {"points": [{"holds": each.holds, "said": each.said} for each in asked.points]},
        )
        replace_file(path, changed)
        manifest.switching.applied(numbers)


def replace_file(path: Path, text: str) -> None:
    """Put another text into a file, whole or not at all; its mode stays.

    Raises:
        Permanent: it cannot be written there (a read-only mount: change it where it comes from).
    """
    real = path.resolve()
    try:
        mode = real.stat().st_mode & 0o777 if real.exists() else 0o644
        descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        fresh = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.chmod(mode)
            fresh.replace(real)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Permanent(
            f"Writing {path.name} failed: {error.strerror}. Where it comes from somewhere else "
            "(a ConfigMap, a repository), change it there."
        ) from error
