"""The axes of figures: which ticks they have, and what stands at these."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sgdnoise.figures._axes import plain_log_axis


@pytest.mark.parametrize(
    ("values", "ticks"), [([1, 1.4], [1, 1.2]), ([1, 60], [1, 2, 5, 10, 20, 50]), ([1e-4, 10], [1e-4, 1e-3, 0.01, 0.1, 1, 10])]
)
def test_a_logarithmic_axis_has_as_many_ticks_as_fit(values, ticks):
    axes = Figure().subplots()
    axes.errorbar([0, 1], values)
    plain_log_axis(axes)
    low, high = axes.get_ylim()
    np.testing.assert_allclose([tick for tick in axes.get_yticks() if low <= tick <= high], ticks)


@pytest.mark.parametrize("values", [[np.nan, np.nan], []])
def test_an_axis_of_nothing_stays_linear(values):
    axes = Figure().subplots()
    axes.errorbar(range(len(values)), values)
    plain_log_axis(axes)
    assert axes.get_yscale() == "linear"
