"""Files with patient data are their owner's only: mode 0600, from the first byte on.

Belongs here: creating and claiming such files. Does not belong here: what is in them.
"""

import os
import stat
from pathlib import Path

from migration_assets.errors import Permanent

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MODE = 0o600


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; an older one, perhaps read by others, goes.

    Raises:
        Permanent: it cannot be written there.
    """
    try:
        if path.is_file():
            path.unlink()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, _MODE), "wb") as file:
            file.write(content)
    except OSError as error:
        raise Permanent(f"Writing {path.name} failed: {error.strerror}.") from error


def claim(path: Path) -> None:
    """Create a file as its owner's only, or take everybody else's rights from the one there.

    Raises:
        Permanent: others may read it and it is not ours to change, or nothing can be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, _MODE))
    except OSError as error:
        raise Permanent(
            f"Creating the manifest file failed: {error.strerror}. "
            "Set MIGRATION_MANIFEST_URL to a folder that this user may write to."
        ) from error
    # SQLite gives its log and index the mode of the file when it makes them, not later.
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        _restrict(each)


def _restrict(path: Path) -> None:
    try:
        if path.stat().st_mode & _OTHERS:
            path.chmod(_MODE)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Permanent(
            f"Others may read {path.name}, which holds patient data, and changing that failed: "
            f"{error.strerror}. Let its owner set the mode 0600, or run as that user."
        ) from error
