"""Where each FHIR type stands in the adoption strategy, what that permits, and what comes next.

Belongs here: phases and standings (``standing``), parts of a type (``cohorts``), the exit gate of
each phase (``gates``), steps from one to another (``steps``), a phase written into the text of
adoption.toml (``declaring``), and what front ends are told (``flags``). All of it is pure. Does not
belong here: reading the evidence that a gate asks for, or carrying a change out (``switching``).
"""

from migration_assets.adoption.standing import (
    Adoption,
    Authority,
    Cohort,
    Phase,
    Standing,
    Strategy,
    read_adoption,
)

__all__ = ["Adoption", "Authority", "Cohort", "Phase", "Standing", "Strategy", "read_adoption"]
