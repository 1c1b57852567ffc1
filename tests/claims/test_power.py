"""How often the full study can confirm each claim is known, and what is short is said beside it."""

import pytest

from sgdnoise.claims.power import ENOUGH, power, power_table
from sgdnoise.claims.statements import CLAIMS, NAMES


def test_the_power_of_every_claim_is_known() -> None:
    assert list(power_table().index) == NAMES


@pytest.mark.parametrize("claim", CLAIMS, ids=NAMES)
def test_what_is_short_is_said_of_the_claims_that_are_rarely_confirmed_and_of_no_other(claim) -> None:
    counts = power_table().loc[claim.name]
    rarely = counts["confirmed"] < ENOUGH * counts.sum()
    assert rarely == bool(claim.short or claim.doubt)
    assert ("simulations: " in power(claim)) == rarely
