"""The axes of figures: which ticks they have, and what stands at these."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sgdnoise.figures._axes import lr_axis, plain_log_axis, swept_axis


def shown(axes, which):
    """Return the ticks in sight, as they are written."""
    axes.figure.draw_without_rendering()
    low, high = getattr(axes, f"get_{which}lim")()
    ticks = getattr(axes, f"{which}axis").get_major_ticks()
    return [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]


@pytest.mark.parametrize(
    ("rates", "ticks"),
    [
        ([0.125, 0.25, 0.5], ["0.125", "0.25", "0.5"]),
        ([0.3186, 0.35046, 0.38551, 0.42406], ["0.3186", "0.3505", "0.3855", "0.4241"]),
        ([0.4, 0.4001, 0.5, 0.6], ["0.4", "0.5", "0.6"]),
        ([0.3], ["0.25", "0.5"]),
    ],
)
def test_an_axis_of_rates_has_ticks_at_octaves_or_at_the_rates(rates, ticks):
    axes = Figure().subplots()
    axes.errorbar(rates, np.ones(len(rates)))
    lr_axis(axes, "x", {"anchor": 1, "ratio": 2}, rates)
    assert shown(axes, "x") == ticks


@pytest.mark.parametrize(
    ("epochs", "ticks"),
    [
        ([10, 11, 12, 13, 14, 100], ["10", "13", "100"]),
        ([8, 9, 10, 11, 12], ["8", "9", "10", "11", "12"]),
        ([100], ["100"]),
        (50 * 2 ** np.arange(9), ["50", "100", "200", "400", "800", "1600", "3200", "6400", "12800"]),
    ],
)
def test_ticks_of_what_is_swept_are_apart(epochs, ticks):
    axes = Figure().subplots()
    axes.errorbar(epochs, np.ones(len(epochs)))
    swept_axis(axes, epochs)
    assert shown(axes, "x") == ticks


@pytest.mark.parametrize(("values", "even"), [([1.004, 1.0126], True), ([19990, 20110], True), ([0.001, 90], False)])
def test_a_tick_is_written_as_it_lies(values, even):
    axes = Figure().subplots()
    axes.errorbar([0, 1], values)
    plain_log_axis(axes)
    numbers = np.array(shown(axes, "y"), float)
    assert len(numbers) > 3
    np.testing.assert_allclose(numbers, [tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]])
    assert np.allclose(np.diff(numbers), np.diff(numbers)[0], rtol=1e-6, atol=0) == even


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
