"""The short form of `make calibration`: wrong verdicts and coverage in made-up studies whose truth is known."""

import pytest
from calibration import KEEP, calibration, rates, scenarios
from decide_calibration import simulated
from scipy import stats

pytestmark = pytest.mark.slow
WRONG, COVERS = 0.05, 0.88  # at most, at least
RARE = 0.001  # a correct program fails so seldom


@pytest.fixture(scope="module")
def found():
    """Every seventh scenario: all shapes, numbers of seeds, noises, departures and windows are among them."""
    table = calibration(12, scenarios()[::7], workers=2)
    assert set(table["seeds"]) == set(KEEP)
    return table


@pytest.mark.parametrize("by", ["variant", "seeds", "noise", "offset"])
def test_verdicts_are_wrong_in_at_most_one_of_twenty_and_intervals_hold(found, by):
    for (quantity, value), row in rates(found, ["quantity", by]).iterrows():
        num = int(row["studies"])
        for end in ("low", "high"):
            assert row[end] <= stats.binom.isf(RARE, num, WRONG) / num, (quantity, value, end)
        held = int(num * (1 - row["edge"]))
        assert row["covers"] >= stats.binom.ppf(RARE, held, COVERS) / held, (quantity, value)


def test_looking_again_does_not_raise_the_rate_of_wrong_verdicts():
    table = simulated(8, workers=2)
    at_the_end = table[table["effect"] == 0]
    for quantity, rows in at_the_end.groupby("quantity"):
        for word in ("agrees", "disagrees"):
            assert rows[word].sum() <= stats.binom.isf(RARE, len(rows), WRONG), (quantity, word)
    large = table[(table["effect"] == table["effect"].max()) & (table["quantity"] == "error")]
    assert large["agrees"].mean() > 0.9
    assert large["seeds"].mean() < 10  # of 15
