"""The verbs of the ``migration`` command, put together.

Belongs here: which verbs there are. Does not belong here: what one does (a file each).
"""

import typer

from migration_assets.cli import (
    assign,
    audit,
    bots,
    check,
    cutover,
    demo,
    describe,
    exceptions,
    flags,
    inbox,
    new,
    phase,
    preview,
    profile,
    purge,
    quota,
    reconcile,
    redeliver,
    register,
    rehearse,
    remap,
    report,
    resume,
    seal,
    status,
    sweep,
    undo,
    write_back,
)

VERBS = typer.Typer(
    name="migration",
    help="Move a legacy health system into Medplum without losing a record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with locals would print rows
)
VERBS.command("demo")(demo.demo)
VERBS.command("new")(new.new)
VERBS.command("describe")(describe.describe)
VERBS.command("check")(check.check)
VERBS.command("preview")(preview.preview)
VERBS.command("profile")(profile.profile)
VERBS.command("register")(register.register)
VERBS.command("status")(status.status)
VERBS.command("exceptions")(exceptions.exceptions)
VERBS.command("assign")(assign.assign)
VERBS.command("redeliver")(redeliver.redeliver)
VERBS.command("resume")(resume.resume)
VERBS.command("sweep")(sweep.sweep)
VERBS.command("reconcile")(reconcile.reconcile)
VERBS.command("report")(report.report)
VERBS.command("phase")(phase.phase)
VERBS.command("flags")(flags.flags)
VERBS.command("cutover")(cutover.cutover)
VERBS.command("inbox")(inbox.inbox)
VERBS.command("audit")(audit.audit)
VERBS.command("write-back")(write_back.write_back)
VERBS.add_typer(bots.BOTS)
VERBS.command("quota")(quota.quota)
VERBS.command("undo")(undo.undo)
VERBS.command("remap")(remap.remap)
VERBS.command("seal")(seal.seal)
VERBS.command("purge")(purge.purge)
VERBS.command("rehearse")(rehearse.rehearse)
