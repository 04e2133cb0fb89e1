"""Redelivering from the UI: what a person mended is tried again, and never all by accident."""

from typing import Any

import dagster as dg
import pytest

from migration_assets_tests.defs.small_clinic import BAD, SmallClinic


def _redelivered(clinic: SmallClinic, **config: Any) -> dg.ExecuteInProcessResult:
    return clinic.job("redeliver", run_config={"ops": {"redeliver_rows": {"config": config}}})


def _told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = (each for each in result.all_events if each.is_successful_output)
    return {name: each.value for name, each in event.step_output_data.metadata.items()}


def _refused(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (each for each in result.all_events if each.is_step_failure)
    data = event.step_failure_data.user_failure_data
    return str(data.description) if data else ""


def test_what_was_quarantined_is_tried_again_and_the_run_says_what_became_of_it(
    clinic: SmallClinic,
) -> None:
    clinic.patient("P9", **BAD)
    clinic.run()
    said = _told(_redelivered(clinic, by="ann", types=["Patient"], dry_run=True))
    assert said == {"would_be_tried_again": 1, "would_be_tried_again/Patient": 1}
    told = _told(_redelivered(clinic, by="ann", types=["Patient"], note="looked at"))
    assert told["tried_again/Patient"] == 1
    assert [name for name in told if name.startswith("now/quarantined")]
    assert "P9" not in str(told)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"by": "ann"}, "nothing says which rows are meant"),
        ({"by": " ", "types": ["Patient"]}, "who decides this"),
        ({"by": "ann", "types": ["Patiënt"]}, "no mapping makes"),
        ({"by": "ann", "reason": "x", "overwrite": True}, "who approved it"),
    ],
)
def test_what_means_everything_or_nothing_is_refused(
    clinic: SmallClinic, config: dict[str, Any], said: str
) -> None:
    assert said in _refused(_redelivered(clinic, **config))
