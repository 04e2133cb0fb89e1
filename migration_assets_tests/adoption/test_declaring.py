"""Writing a phase into adoption.toml: what people wrote there stays as they wrote it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.adoption import Phase, Strategy, read_adoption
from migration_assets.adoption.declaring import with_phase
from migration_assets.errors import Permanent

TEXT = """# who decides: Dr. Lead
Patient = "backfill"   # since March

# written together, moved together
Encounter = 'backfill'
ClinicalImpression={phase = "backfill"}

# results: ours alone
[Observation]
strategy = "exclusive"  # plain POST
phase = "backfill" # asked for on Monday
"""


def test_only_the_phase_changes_and_every_comment_stays() -> None:
    changed = with_phase(TEXT, ["Encounter", "ClinicalImpression", "Observation"], Phase.READ)
    expected = TEXT.replace("Encounter = 'backfill'", 'Encounter = "read"')
    expected = expected.replace('{phase = "backfill"}', '{phase = "read"}')
    expected = expected.replace('phase = "backfill" #', 'phase = "read" #')
    assert changed == expected
    assert read_adoption(changed).standing("Observation").strategy is Strategy.EXCLUSIVE


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("", 'New = "read"\n'),
        ("# nothing yet", '# nothing yet\nNew = "read"\n'),
        (TEXT, TEXT.replace("}\n", '}\nNew = "read"\n')),
        ('# its own\n[A]\nphase="read"', 'New = "read"\n\n# its own\n[A]\nphase="read"'),
        ('A = "read"', 'A = "read"\nNew = "read"\n'),
    ],
)
def test_a_type_that_was_not_named_is_added_where_no_comment_is_parted_from_its_entry(
    text: str, changed: str
) -> None:
    assert with_phase(text, ["New"], Phase.READ) == changed


_LINE = {
    "plain": '{name} = "{phase}"', "commented": '{name} = "{phase}" # why', "padded": "",
    "inline": '{name} = {{ phase = "{phase}", strategy = "exclusive" }}', "remark": "# {name}",
}  # fmt: skip


@given(
    st.lists(st.sampled_from(sorted(_LINE)), max_size=6),
    st.integers(0, 2),
    st.sampled_from(list(Phase)),
    st.integers(0, 7),
)
def test_whatever_stands_in_the_file_the_others_stay_as_they_were(
    kinds: list[str], tables: int, phase: Phase, which: int
) -> None:
    lines = [_LINE[kind].format(name=f"T{n}", phase="backfill") for n, kind in enumerate(kinds)] + [
        f'\n[S{n}]\nphase = "read"\nauthority = "legacy"' for n in range(tables)
    ]
    text, name = "\n".join(lines), f"T{which}" if which < 6 else "S0"
    changed = with_phase(text, [name], phase)
    before, after = read_adoption(text), read_adoption(changed)
    assert after.standing(name).phase is phase
    for other in [f"T{n}" for n in range(6)] + ["S0", "S1"]:
        if other != name:
            assert after.standing(other) == before.standing(other)
    assert re.findall(r"#.*", changed) == re.findall(r"#.*", text)
    assert after.standing(name).authority is before.standing(name).authority


def test_a_file_that_cannot_be_read_is_not_written_over() -> None:
    with pytest.raises(Permanent, match=r"adoption\.toml"):
        with_phase('Patient = "backfil"', ["Patient"], Phase.READ)
