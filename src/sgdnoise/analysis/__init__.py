"""What the runs say, tables in and tables out: optima, their uncertainty, curves, regimes, the next window, advice."""
