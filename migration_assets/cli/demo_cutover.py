"""``migration demo --cutover``: a whole life of the demo clinic, told as it happens."""

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from migration_assets.cli.cutover import show, told
from migration_assets.cli.output import console, plain_table
from migration_assets.errors import Permanent
from migration_assets.run import Silent
from migration_assets.switching.cutover.plan import Came, CutoverStep, Seen

if TYPE_CHECKING:
    from migration_assets.demo.home import Home
    from migration_assets.demo.whole_life import WholeLife

_TELLING = frozenset({CutoverStep.FLIP, CutoverStep.RETIRE})
_SHOWN_WHOLE = "Patient"


class Story:
    """Tells it on the terminal; of one type every step, of the others when they change hands."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._began = time.monotonic()
        self._last: dict[str, str] = {}

    def chapter(self, title: str) -> None:
        """A heading, with how long it took until here."""
        seconds = time.monotonic() - self._began
        self._out.print(Text.assemble((f"\n{seconds:4.0f} s  ", "dim"), (title, "bold")))

    def fact(self, text: str) -> None:
        """One line."""
        self._out.print(f"        {text}", markup=False)

    def step(self, kind: str, step: CutoverStep, seen: Seen) -> None:
        """One look, once where it comes to the same again."""
        whole = kind == _SHOWN_WHOLE or seen.came in {Came.ALARM, Came.BROKEN}
        if not whole and (step not in _TELLING or seen.came is not Came.DONE):
            return
        line = f"{step} {seen.said}"
        if self._last.get(kind) != line:
            self._last[kind] = line
            self._out.print(Text.assemble(f"        {kind:<18}", told(step, seen)))


def whole_life(home: "Home", *, patients: int, seed: int) -> None:
    """Found a clinic, migrate it, cut all of it over; exit 1 if an edit of either side is lost."""
    from migration_assets.demo import migration  # noqa: PLC0415 - the demo's extra only
    from migration_assets.demo.home import write_env_file  # noqa: PLC0415
    from migration_assets.demo.services import services  # noqa: PLC0415
    from migration_assets.demo.whole_life import WholeLife, now, short_times  # noqa: PLC0415

    out = console()
    _forget(home.folder)
    out.print(f"Founding a clinic of {patients:,} patients in {home.folder} …")
    migration.found_clinic(home, patients=patients, seed=seed, now=now())
    with services(home) as running:
        variables = home.environment(running.clinic.base_url, running.sandbox.base_url)
        variables |= short_times(home.folder, now().date())
        wrote_env = write_env_file(Path(".env"), variables)
        life = WholeLife(home, running, variables, Story(out), Silent())
        life.live()
        well = _ending(out, life)
    if wrote_env:
        out.print(
            "The same state: [bold]migration cutover Patient --status[/], [bold]dagster dev[/]."
        )
    if not well:
        raise typer.Exit(1)


def _ending(out: Console, life: "WholeLife") -> bool:
    """What became of it: the last cutover step by step, the phases, the edits of both sides."""
    with life.connections.manifest() as manifest:
        show(manifest, manifest.cutovers.latest("Patient", limit=2)[::-1], as_json=False)
        adoption = life.connections.adoption()
        table = plain_table("Where everything stands")
        for name in ("type", "phase", "cutovers", "report"):
            table.add_column(name, no_wrap=name != "report", overflow="fold")
        for each in life.mappings:
            known = manifest.cutovers.latest(each.resource_type)
            ends = Counter(str(one.outcome) for one in known)
            table.add_row(
                ", ".join(each.types),
                adoption.standing(each.resource_type).phase,
                ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in ends.items()),
                str(manifest.cutovers.looks(known[0].id)[-1].evidence.get("page", "")),
            )
        out.print(table)
    lost = life.lost()
    edits = life.edits
    out.print(
        f"\nWhile it ran {len(edits.legacy)} rows were written in the legacy system and "
        f"{len(edits.medplum)} patients edited in Medplum. "
        + (f"{len(lost)} ARE LOST: {lost}" if lost else "Each of them is in Medplum now."),
        markup=False,
    )
    return not lost


def _forget(folder: Path) -> None:
    """A life begins at its beginning."""
    if folder.exists():
        if not (folder / "clinic.db").exists() and any(folder.iterdir()):
            raise Permanent(f"{folder} does not look like a demo's state; it is left alone.")
        shutil.rmtree(folder)
