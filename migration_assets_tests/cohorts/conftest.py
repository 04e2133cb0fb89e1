"""The sandbox and the clinic of the comparisons."""

from migration_assets_tests.reconciliation.conftest import clinic, on_each, sandbox

__all__ = ["clinic", "on_each", "sandbox"]
