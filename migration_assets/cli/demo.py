"""``migration demo``: a whole migration of an invented clinic, through Dagster, on this machine."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from migration_assets.cli.demo_cutover import whole_life
from migration_assets.cli.output import balance_table, console, exceptions_table
from migration_assets.counting import several
from migration_assets.errors import Permanent
from migration_assets.manifest import State
from migration_assets.mappings import discover

if TYPE_CHECKING:
    from migration_assets.demo.home import Home
    from migration_assets.demo.medplum_sandbox import Sandbox
    from migration_assets.demo.migration import Shown

PATIENTS = 150
SEED = 20261121


def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its state.")] = Path(".demo"),
    patients: Annotated[int, typer.Option(min=10, help="Size of a new clinic.")] = PATIENTS,
    seed: Annotated[
        int, typer.Option(help="Seed of a new clinic's population, and of chaos.")
    ] = SEED,
    changes: Annotated[
        int, typer.Option("--change", min=0, help="First change about so many rows of the clinic.")
    ] = 0,
    cutover: Annotated[  # noqa: FBT002 - typer's way
        bool, typer.Option("--cutover", help="A whole life, from rehearsal to retirement.")
    ] = False,
    chaos: Annotated[bool, typer.Option("--chaos", help="Let Medplum fail all the time.")] = False,  # noqa: FBT002
    ui: Annotated[bool, typer.Option("--ui", help="Then open the Dagster UI on it.")] = False,  # noqa: FBT002 - typer's way
    reset: Annotated[bool, typer.Option("--reset", help="Forget the demo's state; stop.")] = False,  # noqa: FBT002
) -> None:
    """Migrate the demo clinic into a Medplum sandbox, through the Dagster assets.

    Run it again: every row is unchanged and nothing is written. Ctrl-C stops everything.
    """
    home, env = _home(folder), Path(".env")
    if reset:
        _reset(home.folder, env)
        return
    _terminate_as_interrupt()
    if cutover:
        whole_life(_home(folder / "cutover"), patients=patients, seed=seed)
        return
    from migration_assets.demo import migration  # noqa: PLC0415 - the demo's extra only
    from migration_assets.demo.home import write_env_file  # noqa: PLC0415
    from migration_assets.demo.services import services  # noqa: PLC0415

    out = console()
    if not home.clinic.exists():
        out.print(f"Founding a clinic of {several(patients, 'patient')} in {home.folder} …")
    migration.found_clinic(home, patients=patients, seed=seed, now=datetime.now(UTC))
    if changes:
        made = migration.change_clinic(home, changes, now=datetime.now(UTC))
        numbers = (
            f"{len(made.updated)} updated, {len(made.inserted)} new, {len(made.deleted)} deleted"
        )
        out.print(f"The clinic went on working: {numbers} rows.")
        if made.erased:
            out.print(
                f"{len(made.erased)} more vanished without a trace, which no change time tells: "
                "`migration sweep` finds them."
            )
    out.print("Starting the legacy API and the Medplum sandbox …")
    with services(home) as running:
        variables = home.environment(running.clinic.base_url, running.sandbox.base_url)
        wrote_env = write_env_file(env, variables)
        with migration.environment(variables):
            with (
                _chaos(running.sandbox, seed if chaos else None) as given,
                _bars(out, running.clinic.counts()) as bars,
            ):
                migration.materialize_everything(variables, bars)
            shown = migration.account_of(variables, running.sandbox.stats())
        out.print()
        out.print(balance_table(shown.balances))
        if shown.exceptions:
            out.print(exceptions_table(shown.exceptions))
        _print_chaos(out, given)
        _print_proof(out, shown)
        _print_next(out, variables, wrote_env=wrote_env)
        pending = sum(each.balance.by_state[State.PENDING] for each in shown.balances)
        agrees = all(each.agrees for each in shown.presences)
        if ui:
            _open_ui(out, variables)
    if pending or not agrees or not all(each.balance.holds for each in shown.balances):
        raise typer.Exit(1)


def _home(folder: Path) -> "Home":
    try:
        import starlette  # noqa: F401, PLC0415 - asked for here, to say what is missing

        from migration_assets.demo.home import Home  # noqa: PLC0415
    except ModuleNotFoundError:
        raise Permanent(
            "The demo needs packages that are not installed: pip install 'migration_assets[demo]'."
        ) from None
    return Home(folder)


@contextmanager
def _chaos(sandbox: "Sandbox", seed: int | None) -> Iterator[dict[str, int]]:
    """With a seed, everything goes wrong now and then; collects how often each fault was given."""
    from migration_assets.demo.faults import mixture  # noqa: PLC0415 - the demo's extra only

    given: dict[str, int] = {}
    if seed is not None:
        # One request in twenty: after most of these the deliverer really waits four seconds.
        sandbox.misbehave(*mixture(of_writes=0.02, of_requests=0.005), seed=seed)
    try:
        yield given
    finally:
        sandbox.behave()
    given.update(sandbox.stats()["faults"])


def _print_chaos(out: Console, given: dict[str, int]) -> None:
    if given:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(given.items()))
        out.print(f"\nWhat went wrong on the way, {sum(given.values()):,} times: {listed}.")


def _print_proof(out: Console, shown: "Shown") -> None:
    expected = sum(each.expected for each in shown.presences)
    wrong = [each for each in shown.presences if not each.agrees]
    out.print(
        f"\nMedplum was searched for all {expected:,} resources on account: "
        + (
            "each is there, once."
            if not wrong
            else "; ".join(
                f"{each.resource_type}: {each.missing} missing, {each.duplicate} twice, "
                f"{each.other_id} under another id"
                for each in wrong
            )
        )
    )
    out.print(f"This run wrote {shown.written:,} resource versions into Medplum.")


def _print_next(out: Console, variables: dict[str, str], *, wrote_env: bool) -> None:
    checkout = Path("workspace.yaml").exists()  # elsewhere `dagster dev` is to be told the module
    dev = "dagster dev" if checkout else "dagster dev -m migration_assets.definitions"
    out.print()
    for told, command in (
        ("The same state in the Dagster UI:", dev),
        ("One row beside its resource:", "migration preview Patient"),
        ("The balance again:", "migration status"),
    ):
        out.print(f"{told:<33} [bold]{_here()}{command}[/]", soft_wrap=True)
    if not wrote_env:
        out.print(
            "\nYour own .env was left alone. For these commands to see the demo, set:\n"
            + "\n".join(
                f"  export {name}={shlex.quote(value)}" for name, value in variables.items()
            ),
            soft_wrap=True,  # to be copied: a line break within a path would go with it
        )


def _here() -> str:
    """What to write before our commands: nothing where the shell finds these very ones."""
    ours = Path(sys.executable).parent
    if (found := shutil.which("migration")) and Path(found).parent == ours:
        return ""
    shown = ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours
    return shlex.quote(f"{shown}/")


def _open_ui(out: Console, variables: dict[str, str]) -> None:
    out.print("\nDagster UI on http://127.0.0.1:3000 (Ctrl-C stops it and the demo's servers)")
    process = subprocess.Popen(  # noqa: S603 - dagster, from our own dependencies
        [
            str(Path(sys.executable).with_name("dagster")),
            "dev",
            "-m",
            "migration_assets.definitions",
        ],
        env={**os.environ, **variables},
        start_new_session=True,
    )
    try:
        process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def _reset(folder: Path, env: Path) -> None:
    from migration_assets.demo.home import Home, is_ours  # noqa: PLC0415
    from migration_assets.demo.services import running  # noqa: PLC0415

    if folder.exists():
        ours = [folder / "clinic.db", folder / "cutover" / "clinic.db"]
        if not any(each.exists() for each in ours) and any(folder.iterdir()):
            raise Permanent(f"{folder} does not look like a demo's state; it is left alone.")
        if running(Home(folder)):
            raise Permanent("The demo's servers are running; stop them first, then reset.")
        shutil.rmtree(folder)
    if is_ours(env):
        env.unlink()
    console().print("The demo's state is forgotten.")


def _terminate_as_interrupt() -> None:
    """A SIGTERM is to leave as little behind as Ctrl-C."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    # Started with & from a script, SIGINT is inherited as ignored (dagster.md §5).
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Bars:
    """A progress bar per type: rows of its stream that are settled."""

    def __init__(self, progress: Progress, counts: dict[str, int]) -> None:
        self._progress = progress
        self._tasks = {
            each.resource_type: progress.add_task(
                each.resource_type, total=counts.get(each.stream, 0)
            )
            for each in discover().values()
        }

    def landed(self, resource_type: str, rows: int) -> None:
        """Landing is not the end of a row."""

    def settled(self, resource_type: str, units: int) -> None:
        """``units`` more rows have an outcome; one that waited has two, one after the other."""
        task = self._progress.tasks[self._tasks[resource_type]]
        completed = min(task.completed + units, task.total or 0)
        self._progress.update(task.id, completed=completed)


@contextmanager
def _bars(out: Console, counts: dict[str, int]) -> Iterator[_Bars]:
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out) as progress:
        yield _Bars(progress, counts)
