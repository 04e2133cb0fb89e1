"""Concept maps: a code is translated or unmapped, and a faulty file is named with its line."""

from pathlib import Path

import pytest

from migration_assets.errors import Permanent
from migration_assets.terminology import Translation, Unmapped, concept_map, load

HEADER = "local_code,local_display,system,code,display\n"
MAPS = sorted(
    path.stem
    for path in (Path(__file__).parents[2] / "migration_assets/terminology/maps").glob("*.csv")
)


def _load(tmp_path: Path, text: str, name: str = "eye_color.csv") -> dict[str, Translation]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return dict(load(tmp_path / name).translations)


def _complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(Permanent) as error:
        _load(tmp_path, text)
    assert str(tmp_path / "eye_color.csv") in str(error.value)
    return str(error.value)


def test_the_local_coding_is_kept_under_the_sources_own_system(tmp_path: Path) -> None:
    found = _load(tmp_path, f"{HEADER}br,Brown,http://s,1,brown\n")
    assert found["br"] == Translation(
        {"system": "http://your-source-system.com/eyeColorId", "code": "br", "display": "Brown"},
        ({"system": "http://s", "code": "1", "display": "brown"},),
    )


def test_a_code_may_have_several_standard_codings_or_none(tmp_path: Path) -> None:
    found = _load(tmp_path, f"{HEADER}br,Brown,http://s,1,brown\nbr,Brown,http://t,2,\nod,Odd,,,\n")
    assert [each["code"] for each in found["br"].standard] == ["1", "2"]
    assert found["od"].standard == ()


def test_columns_may_come_in_any_order_beside_others(tmp_path: Path) -> None:
    found = _load(
        tmp_path, "note,code,system,display,local_display,local_code\n?,1,http://s,b,B,br\n"
    )
    assert found["br"].standard == ({"system": "http://s", "code": "1", "display": "b"},)


def test_a_code_no_map_has_is_a_value_that_must_be_faced() -> None:
    """Never a default; and never a near miss: codes are matched to the letter."""
    for code in ("zz", "ht001", " HT001", ""):
        assert isinstance(concept_map("condition").translate(code), Unmapped)
    unmapped = concept_map("condition").translate("zz")
    assert unmapped.local == {"system": "http://your-source-system.com/conditionId", "code": "zz"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("local_code,system,code,display\n", "line 1: the column local_display is missing"),
        ("", "line 1: the column local_code is missing"),
        (f"{HEADER},Brown,http://s,1,b\n", "line 2: local_code is blank"),
        (f"{HEADER}br,Brown,http://s,1,b\nbr,Brown,http://s,1,b\n", "line 3: it is a duplicate"),
        (f"{HEADER}br,Brown,,,\nbr,Brown,http://s,1,b\n", "line 3: it is a duplicate"),
        (f"{HEADER}br,Brown,http://s,1,b\nbr,Brown,,,\n", "line 3: it is a duplicate"),
        (f"{HEADER}br,Brown,http://s,1,b\nbr,Bay,http://t,1,b\n", "line 3: its local_display"),
        (f"{HEADER}br,Brown,http://s,,b\n", "line 2: system and code go together"),
        (f"{HEADER}br,Brown,,1,b\n", "line 2: system and code go together"),
        (f"{HEADER}br ,Brown,http://s,1,b\n", "line 2: a cell begins or ends with a blank"),
        (f"{HEADER}br,Brown\n", "line 2: it must have 5 columns"),
        (f"{HEADER}br,Brown,http://s,1,b,c\n", "line 2: it must have 5 columns"),
        (f'{HEADER}br,"Brown,http://s,1,b\n', "It must be a CSV file"),
    ],
)
def test_a_faulty_file_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    assert told in _complaint(tmp_path, text)


def test_a_file_that_is_missing_or_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"gone\.csv"):
        load(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}br,Bräun,,,\n".encode("latin-1"))
    with pytest.raises(Permanent, match=r"latin\.csv"):
        load(tmp_path / "latin.csv")


def test_a_map_is_read_once() -> None:
    assert concept_map("gender") is concept_map("gender")


@pytest.mark.parametrize("name", MAPS)
def test_every_map_that_ships_can_be_read(name: str) -> None:
    assert concept_map(name).translations


def _codes(name: str) -> dict[str, str]:
    return {
        local: " ".join(each["code"] for each in translation.standard)
        for local, translation in concept_map(name).translations.items()
    }


def test_the_codes_that_carry_meaning_are_the_right_ones() -> None:
    """A wrong code is worse than none: it is believed. Checked by hand against LOINC and UCUM."""
    assert _codes("observation_code") | {
        "HT": "8302-2",
        "WT": "29463-7",
        "BP": "85354-9",
        "SYS": "8480-6",
        "DIA": "8462-4",
        "HR": "8867-4",
        "TEMP": "8310-5",
        "GLU": "2345-7",
        "HBA1C": "4548-4",
        "NA": "2951-2",
        "K": "2823-3",
        "SMOKE": "72166-2",
        "URINE_COLOR": "5778-6",
    } == _codes("observation_code")
    assert _codes("unit") | {
        "cm": "cm",
        "kg": "kg",
        "mmHg": "mm[Hg]",
        "bpm": "/min",
        "C": "Cel",
        "mg/dL": "mg/dL",
        "%": "%",
        "mmol/L": "mmol/L",
    } == _codes("unit")
    assert _codes("report_code") == {"CBC": "58410-2", "BMP": "51990-0", "LIPID": "57698-3"}
    assert _codes("gender") == {"F": "female", "M": "male", "O": "other", "U": "unknown"}
