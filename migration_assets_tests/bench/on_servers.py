"""Deliveries measured on the sandbox and, where the environment names one, on a real server too.

Belongs here: which server, how much is written to it, and that all of it is removed again. Does not
belong here: measuring. MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET name the real
server; a .env file is not read, so that nobody measures against a project by accident. Its figures
have the same names with ``real_`` before them.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from migration_assets.settings import read_settings
from migration_assets_tests.bench import loaders, points, quota
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.loaders import Sizes
from migration_assets_tests.bench.scratch import scratch
from migration_assets_tests.bench.server import Server, real_server, sandbox_server

NOTES = Path("build/bench-scratch")
"""Scratches in use; one that is still there after a kill is removed by the next run."""


@dataclass(frozen=True)
class Plan:
    """How much is written to one server; quota at the default of 50,000 points is 500 a minute."""

    resources: int
    windows: int
    limit: int
    slow: Sizes
    fast: Sizes


def sandbox_plan(scale: float) -> Plan:
    """Enough for steady figures at scale 1, in three minutes."""
    return Plan(
        resources=max(10, int(500 * scale)),
        windows=5 if scale >= 1 else 2,
        limit=max(2_000, int(50_000 * scale)),
        slow=Sizes(max(10, int(200 * scale)), 3 if scale >= 1 else 1),
        fast=Sizes(max(10, int(1_000 * scale)), 3 if scale >= 1 else 1),
    )


def real_plan(scale: float) -> Plan:
    """Little enough for a client's default quota; everything is deleted at the same price."""
    few = max(10, int(100 * scale))
    return Plan(few, windows=2, limit=0, slow=Sizes(few, 1), fast=Sizes(few, 1))


Measure = Callable[[Server, str, Plan], Generator[Figure, None, None]]


def points_figures(scale: float) -> Generator[Figure, None, None]:
    """Points and requests per resource."""
    return _on_each(lambda server, _root, plan: points.figures(server, plan.resources), scale)


def quota_figures(scale: float) -> Generator[Figure, None, None]:
    """Use of a limited quota."""
    return _on_each(
        lambda server, root, plan: quota.figures(server, root, plan.windows, plan.limit), scale
    )


def loaders_figures(scale: float) -> Generator[Figure, None, None]:
    """Throughput beside other loaders."""
    return _on_each(
        lambda server, _root, plan: loaders.figures(server, plan.slow, plan.fast), scale
    )


def measured(
    server: Server, plan: Plan, measure: Measure, notes: Path
) -> Generator[Figure, None, None]:
    """Figures of one server, in a scratch that is removed however it ends."""
    with scratch(server, notes) as root:
        yield from measure(server, root, plan)


def _on_each(measure: Measure, scale: float) -> Generator[Figure, None, None]:
    with sandbox_server() as sandbox:
        yield from measured(sandbox, sandbox_plan(scale), measure, NOTES)
    real = real_server(read_settings(env_file=None))
    if real is not None:
        with closing(measured(real, real_plan(scale), measure, NOTES)) as figures:
            for each in figures:
                yield replace(each, name=f"real_{each.name}")
