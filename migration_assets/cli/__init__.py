"""The ``migration`` command: thin verbs over the rooms, one file each.

Belongs here: arguments, what is printed, exit codes. Does not belong here: what a verb does.
Exit codes: 0 all is well; 1 something needs a person (an exception in the account, a failed
check); 2 the command could not be carried out (a setting, the source or Medplum); 130 Ctrl-C.
"""

import sys
import traceback

from migration_assets.errors import MigrationError

_INTERRUPTED = 130
_FRAMES = 8


def app() -> None:
    """Entry of the command; an expected error is a sentence, not a traceback."""
    try:
        # Here, as loading takes a second in which Ctrl-C may come.
        from migration_assets.cli.verbs import VERBS  # noqa: PLC0415

        VERBS()
    except MigrationError as error:
        print(f"migration: {error}", file=sys.stderr)  # noqa: T201 - this is the command line
        sys.exit(2)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer's word for Ctrl-C
            _interrupted()
        raise
    except Exception as error:  # noqa: BLE001 - a traceback ends with its text, which may quote a row
        _unexpected(error)


def _unexpected(error: Exception) -> None:
    """Say where nobody foresaw it, for a report of the bug, and none of what it says."""
    print(  # noqa: T201
        f"migration: stopped by an unexpected {type(error).__name__}; what it says is left out, it "
        "may name a patient. Nothing is lost; it happened in",
        file=sys.stderr,
    )
    for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
        print(f"  {frame.filename}:{frame.lineno} {frame.name}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _interrupted() -> None:
    print("migration: stopped; nothing is lost, run it again", file=sys.stderr)  # noqa: T201
    sys.exit(_INTERRUPTED)
