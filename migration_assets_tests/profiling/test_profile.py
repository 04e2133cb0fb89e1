"""A profile tells what would surprise a mapping, of every row, and shows nobody's data."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.demo.population import generate
from migration_assets.manifest import Manifest
from migration_assets.profiling.field import FieldProfile
from migration_assets.profiling.page import as_json_value, parts, profile_page
from migration_assets.profiling.reading import profile_landed
from migration_assets.profiling.references import ReferenceTally
from migration_assets.profiling.remarks import field_remarks, stream_remarks
from migration_assets.profiling.stream import Origin, SeenRow, StreamProfile, profile
from migration_assets_tests.manifest.rows import PulledRow, tombstone
from migration_assets_tests.profiling.landed import (
    NOW,
    land,
    land_bodies,
    land_every_nasty_row,
)

CANARY = "Qanarybird"


def of(rows: Sequence[Any], *, chunk: int = 7) -> StreamProfile:
    """The profile of bare rows, in small chunks."""
    seen = [SeenRow(str(number), row) for number, row in enumerate(rows)]
    chunks = [seen[start : start + chunk] for start in range(0, len(seen), chunk)]
    return profile("things", Origin("test"), chunks, ReferenceTally([], lambda _s, _k: {}))


def field(found: StreamProfile, path: str) -> FieldProfile:
    return next(each for each in found.fields if each.path == path)


def everything(found: StreamProfile) -> str:
    """All that leaves the room: page, JSON and remarks."""
    return profile_page([found], NOW) + orjson.dumps(as_json_value(found)).decode()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=40)
    | st.sampled_from(["N/A", "9999-12-31", "13/45/2020", "2024-02-30", "\ud800", "Ã©", " x ", ""])
    | st.datetimes().map(str),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec=None), max_size=12), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(json_values, max_size=12))
def test_no_row_is_too_strange_and_every_value_is_counted_once(rows: list[Any]) -> None:
    found = of(rows, chunk=5)
    assert found.rows == len(rows)
    assert found.objects == sum(isinstance(row, dict) for row in rows)
    for each in found.fields:
        assert sum(parts(each).values()) == each.present + (each.missing or 0)
        assert min(parts(each).values()) >= 0
        if each.objects is not None:
            assert each.present + (each.missing or 0) == each.objects
        assert each.repeated <= each.distinct <= each.present
        assert sum(each.lengths.values()) == each.kinds.get("text", 0)
    assert "\ud800" not in everything(found)
    json.loads(orjson.dumps(as_json_value(found)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": json_values, "b": json_values}), max_size=20))
def test_chunks_make_no_difference(rows: list[Any]) -> None:
    """Rows stream by in pages of the account; what is told is of all of them."""
    assert of(rows, chunk=1) == of(rows, chunk=100)


def test_every_nasty_row_is_profiled_and_what_is_nasty_about_it_is_told(
    manifest: Manifest,
) -> None:
    land_every_nasty_row(manifest)
    patients = profile_landed(manifest, "patients")
    told = {
        each.path: {remark.told for remark in field_remarks(patients, each) if remark.grave}
        for each in patients.fields
    }
    assert "3 impossible dates" in told["birth_date"]
    assert "1 x “0000-00-00”" in told["birth_date"]
    assert "1 x control character" in told["last_name"]
    assert "1 x padding" in told["patient_id"]
    assert {each.told for each in stream_remarks(patients)} >= {
        "1 row: no usable key",
        "2 rows: a key that a different row has too",
    }
    observations = profile_landed(manifest, "observations")
    assert observations.not_objects == 1
    zones = field(observations, "observed_at").dates
    assert zones is not None
    assert zones.zones["none"] == 1
    conditions = profile_landed(manifest, "patient_conditions")
    reference = next(each for each in conditions.references if each.path == "patient_id")
    assert (reference.stream, reference.named) == ("patients", True)
    assert reference.dangling >= 1


def test_a_family_name_never_leaves_the_account(manifest: Manifest) -> None:
    """The canary stands in every family name and note; none is in page, JSON or remarks."""
    bodies: dict[str, list[PulledRow]] = {}
    for row in generate(60, 3, NOW, canary=CANARY):
        bodies.setdefault(row.stream, []).append(PulledRow(row.key or None, row.body, NOW))
    names = {row.row["last_name"].split()[0] for row in bodies["patients"] if row.row.get("email")}
    mails = {row.row["email"] for row in bodies["patients"] if row.row.get("email")}
    for stream, rows in bodies.items():
        land(manifest, stream, rows)
    for stream in bodies:
        told = everything(profile_landed(manifest, stream))
        assert CANARY not in told
        assert not any(name in told for name in names | mails)
        assert "P0000001" not in told


def test_a_rare_code_is_counted_but_not_shown() -> None:
    """A code that one row has may be enough to know who it is."""
    rows = [{"ward": "east"}] * 30 + [{"ward": "west"}] * 5 + [{"ward": CANARY}] * 4
    told = everything(of(rows))
    assert field(of(rows), "ward").codes == {"east": 30, "west": 5}
    assert CANARY not in told


@pytest.mark.parametrize(
    "name", ["last_name", "patient_id", "email", "note", "patientName", "ssn", "birth_date"]
)
def test_a_field_that_names_a_person_shows_no_value_however_often_it_occurs(name: str) -> None:
    assert CANARY not in everything(of([{name: CANARY}] * 100))


def test_a_field_of_many_values_shows_none_even_of_the_frequent_ones() -> None:
    rows = [{"x": CANARY}] * 90 + [{"x": f"v{number}"} for number in range(60)]
    assert CANARY not in everything(of(rows))


def test_a_field_of_free_text_shows_none_of_its_short_frequent_values() -> None:
    rows = [{"x": CANARY}] * 90 + [{"x": "a sentence somebody wrote, longer than any code is"}]
    assert CANARY not in everything(of(rows))
    assert CANARY not in everything(of(rows[::-1]))


def test_a_number_long_enough_to_be_somebodys_is_told_by_its_length() -> None:
    found = field(of([{"x": 5_551_234_567}, {"x": 7}, {"x": 7}]), "x")
    assert (found.least, found.greatest) == ("7", "10 digits")


def test_names_that_look_like_data_are_not_shown() -> None:
    """An object keyed by patient would list the patients as fields."""
    rows = [{"by_key": {f"P{number:06}": 1}} for number in range(20)]
    rows += [{"by_name": {f"{CANARY}{chr(97 + n % 26)}{chr(97 + n // 26)}": n}} for n in range(300)]
    found = of(rows)
    assert "P000007" not in everything(found)
    assert CANARY not in everything(found)
    assert found.hidden["by_name"] > 100


def test_distinct_values_are_exact_while_few_and_estimated_in_bounded_memory_after() -> None:
    few = field(of([{"x": number % 900} for number in range(2_000)], chunk=500), "x")
    assert (few.distinct, few.repeated, few.distinct_exact) == (900, 900, True)
    many = field(of([{"x": f"v{number}"} for number in range(40_000)], chunk=5_000), "x")
    assert not many.distinct_exact
    assert abs(many.distinct - 40_000) < 4_000
    assert many.is_unique


def test_one_value_seen_twice_is_no_key() -> None:
    rows = [{"a": number, "b": max(number, 1)} for number in range(20)]
    assert field(of(rows), "a").is_unique
    assert not field(of(rows), "b").is_unique


def test_a_doubtful_sentinel_counts_as_a_value_and_a_sure_one_does_not() -> None:
    """NA is sodium; 9999-12-31 is nobody's day."""
    found = of([{"code": "NA", "ends": "9999-12-31"}, {"code": "K", "ends": "2024-01-02"}])
    assert (field(found, "code").filled, field(found, "code").doubtful) == (2, {"na": 1})
    assert (field(found, "ends").filled, field(found, "ends").sentinels) == (1, {"9999-12-31": 1})


def test_the_zone_of_offsets_is_inferred_from_both_halves_of_a_year() -> None:
    rows = [{"seen_at": f"2024-{month:02}-10T09:00:00+0{1 + (4 <= month <= 10)}:00"} for month in range(1, 13)]  # noqa: E501 # fmt: skip
    dates = field(of(rows), "seen_at").dates
    assert dates is not None
    assert dates.zone_fits == ("Europe/Berlin",)
    assert dates.zoneless_share == 0


def test_a_clinics_night_shows_whether_zone_less_times_are_local() -> None:
    rows = [{"seen_at": f"2024-05-{1 + n % 28:02} {(13 + n % 10) % 24:02}:15:00"} for n in range(200)]  # noqa: E501 # fmt: skip
    dates = field(of(rows), "seen_at").dates
    assert dates is not None
    assert (dates.zones, dates.quiet_hours) == ({"none": 200}, "00-06")
    assert dates.zoneless_share == 1


def test_day_and_month_that_could_be_either_are_counted() -> None:
    rows = [{"d": each} for each in ("03/04/2020", "13/04/2020", "04/13/2020", "05/05/2020")]
    dates = field(of(rows), "d").dates
    assert dates is not None
    assert dates.order == {"month first": 2, "either": 1, "day first": 1}


def test_mojibake_is_told_from_french() -> None:
    rows = [{"x": text} for text in ("FranÃ§ois", "donâ€™t", "François", "Ñáñez-Łęcka", "ÂGÉ")]
    assert field(of(rows), "x").flaws == {"mojibake": 2}


def test_deleted_rows_are_left_out_and_references_to_them_told(manifest: Manifest) -> None:
    land_bodies(manifest, "wards", [{"id": "W1"}, {"id": "W2"}])
    land(manifest, "wards", [tombstone("W2", at=10**8)])
    stays = [{"id": f"S{n}", "ward_id": f"W{1 + n % 3}", "chief": "W1"} for n in range(9)]
    land_bodies(manifest, "stays", stays)
    found = profile_landed(manifest, "stays")
    told = {each.path: each for each in found.references}
    assert (told["ward_id"].dangling, told["ward_id"].to_deleted) == (3, 3)
    assert profile_landed(manifest, "wards").rows == 1


def test_a_reference_named_after_nothing_is_found_by_its_values(manifest: Manifest) -> None:
    land_bodies(manifest, "wards", [{"id": f"W{n}", "above_id": f"W{n // 2}"} for n in range(1, 9)])
    (reference,) = profile_landed(manifest, "wards").references
    assert (reference.path, reference.stream, reference.named) == ("above_id", "wards", False)
    assert reference.dangling == 1


def test_the_same_seed_draws_the_same_rows_and_another_seed_others(manifest: Manifest) -> None:
    land_bodies(manifest, "wards", [{"id": f"W{n}"} for n in range(900)])

    def drawn(seed: int) -> Counter[str]:
        pages = manifest.contents.sample("wards", size=40, seed=seed)
        return Counter(row.key for page in pages for row in page)

    assert drawn(1) == drawn(1)
    assert drawn(1).total() == 40
    assert drawn(1) != drawn(2)


def test_every_row_is_read_once_whatever_the_pages(manifest: Manifest) -> None:
    land_bodies(manifest, "wards", [{"id": f"W{n}"} for n in range(4_001)])
    keys = [row.key for page in manifest.contents.rows("wards") for row in page]
    assert len(keys) == len(set(keys)) == 4_001


def test_what_a_source_calls_things_never_becomes_a_tag() -> None:
    """Names and codes come from the source."""
    page = profile_page([of([{"kind": "<script>x()</script>", "<b>": 1}] * 9)], NOW)
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<b>" not in page


def test_the_page_loads_and_runs_nothing(manifest: Manifest) -> None:
    land_every_nasty_row(manifest)
    page = profile_page([profile_landed(manifest, "patients")], datetime(2026, 1, 1, tzinfo=UTC))
    assert "default-src 'none'" in page
    for forbidden in ("<script", "http://", "https://", "<link", "<img", "@import", "url(http"):
        assert forbidden not in page
