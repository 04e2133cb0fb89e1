"""People at work on both sides, in any order: no edit of either side is lost without a word."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from migration_assets.manifest.write_back_ends import Choice, WriteBack
from migration_assets_tests.write_back.world import World, named, phone

_PATIENTS = ("P1", "P2")
_STEPS = st.one_of(
    st.tuples(st.sampled_from(["in-medplum", "at-the-desk"]), st.sampled_from(_PATIENTS),
              st.sampled_from(["phone", "first_name"])),
    st.tuples(st.just("alike"), st.sampled_from(_PATIENTS), st.just("phone")),
    st.tuples(st.just("decide"), st.sampled_from(["medplum", "legacy"]), st.just("")),
    st.tuples(st.just("fault"), st.sampled_from(["drop", "lose", "fail-after", "lie", "refuse"]),
              st.just("")),
    st.tuples(st.just("back"), st.just(""), st.just("")),
)  # fmt: skip


class Both:
    """What each side wrote, and the law beside the product."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.desk: dict[tuple[str, str], str] = {}
        """By patient and field: what the clinic wrote and Medplum does not know, nor a person."""
        self.medplum: dict[tuple[str, str], str] = {}
        """By patient and field: what was written in Medplum last, until it stood in the clinic."""
        self.number = 0

    def step(self, kind: str, who: str, field: str) -> None:
        """Something happens."""
        self.number += 1
        value = f"value-{self.number}"
        if kind in ("in-medplum", "alike"):
            self.world.edit(phone(value) if field == "phone" else named(value), who)
            self.medplum[who, field] = value
        if kind in ("at-the-desk", "alike"):
            self.world.at_the_desk(who, **{field: value})
            self.desk[who, field] = value
        if kind == "decide":
            self.decide({WriteBack.CONFLICT: Choice(who)})
        if kind == "fault":
            self.world.clinic.fail_writes(who)
        if kind == "back":
            self.back()

    def back(self) -> None:
        """Write back; what the clinic wrote still stands where nobody knew of it."""
        self.world.back()
        for who in _PATIENTS:
            row, held = self.world.row(who) or {}, self.world.resource(who)
            known = {
                "phone": held["telecom"][0]["value"],
                "first_name": held["name"][0]["given"][0],
            }
            for field, value in row.items():
                if self.medplum.get((who, field)) == value:
                    del self.medplum[who, field]
            for key, value in list(self.desk.items()):
                if key[0] != who:
                    continue
                assert row[key[1]] == value, f"the clinic's edit was written over: {key}"
                if known[key[1]] == value:  # whoever edits it in Medplum from here on has seen it
                    del self.desk[key]

    def decide(self, choices: dict[WriteBack, Choice]) -> None:
        """A person decides of all that waits; for Medplum, they have seen what the clinic wrote."""
        for debt in self.world.debts():
            choice = choices.get(debt.state)
            if choice is None:
                continue
            assert self.world.account.write_backs.decide(debt, choice, by="me", note=None)
            if choice is Choice.MEDPLUM:
                seen = self.world.account.landed_units("patients", limit=1, keys=[str(debt.key)])
                for who, field in list(self.desk):
                    if who == debt.key and seen[0].row[field] == self.desk[who, field]:
                        del self.desk[who, field]

    def in_the_end(self) -> None:
        """Whatever was written in Medplum stood in the clinic, too, or a debt says why not."""
        self.world.clinic.fail_writes()
        self.back()
        for who, field in self.medplum:
            newest = [each for each in self.world.debts() if each.key == who][-1]
            told = newest.state in (WriteBack.CONFLICT, WriteBack.REFUSED)
            assert told or newest.reason == "legacy-kept", (who, field, newest)
            assert newest.versions, "which edit it was is not known"


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@example(
    steps=[
        ("in-medplum", "P1", "phone"),
        ("at-the-desk", "P1", "first_name"),
        ("back", "", ""),
        ("in-medplum", "P1", "phone"),
        ("back", "", ""),
    ]
)
@example(
    steps=[
        ("in-medplum", "P1", "phone"),
        ("at-the-desk", "P1", "phone"),
        ("back", "", ""),
        ("decide", "legacy", ""),
        ("in-medplum", "P1", "first_name"),
        ("back", "", ""),
    ]
)
@given(steps=st.lists(_STEPS, min_size=3, max_size=9))
def _any_order(lived: Both, steps: list[tuple[str, str, str]]) -> None:
    for each in steps:
        lived.step(*each)
    lived.in_the_end()
    # What still waits is decided, so that the next life begins with nothing open.
    for _ in range(3):
        lived.decide({WriteBack.CONFLICT: Choice.MEDPLUM, WriteBack.REFUSED: Choice.RETRY})
        lived.back()
    assert lived.world.account.write_backs.open(["Patient"]) == 0


def test_no_edit_of_either_side_is_lost_without_a_word(one_world: World) -> None:
    lived = Both(one_world)
    _any_order(lived)
    counts = one_world.account.write_backs.counts(["Patient"])["Patient"]
    assert {WriteBack.WRITTEN, WriteBack.UNCHANGED, WriteBack.SKIPPED} <= set(counts)
