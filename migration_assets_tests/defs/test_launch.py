"""The Launchpad: what makes no sense is refused before anything is pulled, in words that help."""

from typing import Any

import pytest

from migration_assets.adoption import Phase, Standing, Strategy, read_adoption
from migration_assets.defs.launch import PullConfig, launch, refuse_for
from migration_assets.errors import Permanent
from migration_assets.legacy import Stream, load_description

TIMED = load_description(
    "{name: x, base_url: 'https://x.example', streams: [{name: visits, path: v, id: id,"
    " cursor: {field: at, param: since}, record_date: {field: day}},"
    " {name: plain, path: p, id: id},"
    " {name: changed, path: c, id: id, queue: {type: acknowledge, path: s, event: e, ids: es}}]}"
)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"incremental": True, "sweep": True}, "incremental and sweep are different ways"),
        ({"sweep": True, "remap": True}, "sweep and remap are different ways"),
        ({"incremental": True, "record_since": "2023-01-01"}, "different ways"),
        ({"keys": ["A"], "sample": 3}, "keys and sample"),
        ({"seed": 7}, "say sample as well"),
        ({"dry_run": True, "strategy": "shared"}, "dry_run writes nothing"),
        ({"remap": True, "page_size": 10}, "remap pulls nothing"),
        ({"limit": 0}, "limit should be 1 or more"),
        ({"sample": -1}, "sample should be 1 or more"),
        ({"page_size": 0}, "page_size should be 1 or more"),
        ({"allow_missing": -1, "sweep": True}, "allow_missing should be 0 or more"),
        ({"record_since": "last year"}, "record_since should be a date such as"),
        ({"record_until": "2023-02-30"}, "record_until should be a date such as"),
        ({"record_since": ""}, "record_since should be a date"),
        ({"record_since": "2024-01-01", "record_until": "2024-01-01"}, "nothing lies between"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(Permanent, match=said) as refused:
        launch(PullConfig(**config))
    assert "before anything was pulled" in str(refused.value)


def test_everything_wrong_is_said_at_once_and_nothing_that_was_typed() -> None:
    """Whoever mends one thing after the other launches five runs; a key may be a patient's."""
    config = PullConfig(limit=0, keys=["Kanarienvogel"], sample=2, record_since="Kanarienvogel")
    with pytest.raises(Permanent) as refused:
        launch(config)
    said = str(refused.value)
    assert all(each in said for each in ("limit", "keys and sample", "record_since"))
    assert "Kanarienvogel" not in said


@pytest.mark.parametrize(
    ("config", "stream", "standing", "said"),
    [
        ({"strategy": "exclusive"}, "visits", Standing(Phase.DUAL_WRITE), "others write this type"),
        ({"strategy": "shared"}, "visits", Standing(Phase.REHEARSE), "nothing is written"),
        ({"strategy": "exclusive"}, "visits", Standing(Phase.WRITE), "nothing is written"),
        ({"allow_missing": 3}, "visits", Standing(Phase.BACKFILL), "say sweep as well"),
        ({"sweep": True}, "changed", Standing(Phase.BACKFILL), "is a queue"),
        ({"record_since": "2023-01-01"}, "plain", Standing(), "names no clinical date"),
    ],
)
def test_what_a_type_or_its_phase_forbids_is_refused(
    config: dict[str, Any], stream: str, standing: Standing, said: str
) -> None:
    asked = launch(PullConfig(**config))
    with pytest.raises(Permanent, match=said):
        refuse_for(asked, "Encounter", TIMED.stream(stream), standing)


@pytest.mark.parametrize(
    ("config", "stream", "phase"),
    [
        ({}, "visits", Phase.REHEARSE),
        ({"strategy": "exclusive"}, "visits", Phase.BACKFILL),
        ({"strategy": "exclusive"}, "visits", Phase.READ),
        ({"strategy": "shared"}, "visits", Phase.DUAL_WRITE),
        ({"allow_missing": 3}, "plain", Phase.BACKFILL),
        ({"record_until": "2023-01-01", "limit": 5, "dry_run": True}, "visits", Phase.REHEARSE),
        ({"sample": 5, "seed": 9, "incremental": True}, "visits", Phase.BACKFILL),
    ],
)
def test_what_makes_sense_is_let_through(config: dict[str, Any], stream: str, phase: Phase) -> None:
    described: Stream = TIMED.stream(stream)
    refuse_for(launch(PullConfig(**config)), "Encounter", described, Standing(phase))


def test_a_strategy_is_chosen_for_one_type_only() -> None:
    declared = read_adoption('Patient = "backfill"\nEncounter = "backfill"')
    changed = declared.with_strategy("Patient", Strategy.EXCLUSIVE)
    assert changed.standing("Patient").strategy is Strategy.EXCLUSIVE
    assert changed.standing("Patient").phase is Phase.BACKFILL
    assert changed.standing("Encounter").strategy is Strategy.SHARED
    assert declared.standing("Patient").strategy is Strategy.SHARED
