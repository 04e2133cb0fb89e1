"""Numbers with their nouns: «1 findings» makes a reader doubt the number as well."""

import pytest

from migration_assets.counting import of_several, several, verb


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (several(0, "row"), "0 rows"),
        (several(1, "row"), "1 row"),
        (several(1_000, "row"), "1,000 rows"),
        (several(1, "search", "searches"), "1 search"),
        (several(2, "search", "searches"), "2 searches"),
        (of_several(0, 1, "row"), "0 of 1 row"),
        (of_several(1, 12, "row"), "1 of 12 rows"),
        (verb(1, "is", "are"), "is"),
        (verb(0, "is", "are"), "are"),
    ],
)
def test_the_noun_goes_with_the_number(said: str, told: str) -> None:
    assert said == told
