"""The three fates of a failure, decided where it happens and named in its type.

    MigrationError
    ├── Transient     trying again may clear it (throttling, a reset, a lock)
    ├── Permanent     trying again will not: a setting, a credential or a description must change
    └── Quarantine    this row only: it is recorded with its reason and the run goes on

A message says what was attempted, what went wrong and what to do. It never holds patient data:
no row, no resource, no query value, no OperationOutcome text. Retrying lives where the request
is made; what a failure means for a Dagster run is decided in ``defs``, not here.
"""


class MigrationError(Exception):
    """Root of every error this package raises on purpose."""


class Transient(MigrationError):
    """Trying again may clear it; ``retry_after`` is the wait in seconds that was asked for."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Busy(Transient):
    """Somebody else is doing it just now: wait for them, or try again when they are done."""


class Permanent(MigrationError):
    """Trying again will not help: a person must change something first."""


class Quarantine(MigrationError):
    """One row that must not be guessed at.

    ``reason`` is a short kebab-case code that people count by (``unmapped-code``); ``field`` is
    the row's field or the resource's element path it concerns, never its value.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{reason} at {field}" if field else reason)
        self.reason = reason
        self.field = field
