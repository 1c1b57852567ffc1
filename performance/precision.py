"""Say whether a lower precision gives the same optima: python performance/precision.py results/precision/optimum.csv.

The table of a study that has a benchmark in float32 and again as BENCHMARK_tf32 or BENCHMARK_bfloat16, as
workflow/config/precision.yaml. At every point of the grid the test metric at the optimum is compared. "Same" is decided by
equivalence: the 90 % interval of the difference (Welch) lies within one s.d. of the float32 runs, which the paper takes for
equal, and each optimal learning rate lies within the other's error bar. "Differs" if the interval lies outside of it, or the
error bars of the learning rates have no rate in common; "undecided" otherwise.
"""

import math
import sys

import pandas as pd
from scipy.stats import t

PRECISIONS = ("tf32", "bfloat16")
POINT = ["mode", "optimizer", "budget", "batch_size"]


def compare(one: pd.Series, other: pd.Series) -> tuple[float, float, str]:
    """Return the difference of two means, half of its 90 % interval, and the verdict; `one` is float32."""
    errors = [row["sd"] ** 2 / row["num_kept"] for row in (one, other)]
    freedom = [error**2 / (row["num_kept"] - 1) for error, row in zip(errors, (one, other), strict=True)]
    half = float(t.ppf(0.95, sum(errors) ** 2 / sum(freedom))) * math.sqrt(sum(errors)) if sum(errors) else 0.0
    difference = other["mean"] - one["mean"]
    within = all(a["lr_low"] <= b["lr"] <= a["lr_high"] for a, b in ((one, other), (other, one)))
    apart = one["lr_high"] < other["lr_low"] or other["lr_high"] < one["lr_low"]
    if abs(difference) - half > one["sd"] or apart:
        return difference, half, "differs"
    return difference, half, "same" if abs(difference) + half <= one["sd"] and within else "undecided"


def lines(optimum: pd.DataFrame) -> list[str]:
    """Write a line of the table per precision and point of the grid."""
    found = []
    test = optimum.groupby("benchmark")["metric"].first()
    rows = optimum[optimum["metric"] == optimum["benchmark"].map(test)].set_index(["benchmark", *POINT])
    for key, other in rows.iterrows():
        name, _, precision = str(key[0]).rpartition("_")
        if precision not in PRECISIONS:
            continue
        if (name, *key[1:]) not in rows.index:
            raise SystemExit(f"{key[0]} has no float32 counterpart {name} at {', '.join(map(str, key[1:]))}")
        one = rows.loc[(name, *key[1:])]
        difference, half, verdict = compare(one, other)
        fields = [name, precision, key[2], key[4], one["metric"], f"{one['lr']:g}", f"{other['lr']:g}"]
        fields += [f"{one['mean']:.4f} ± {one['sd']:.4f}", f"{difference:+.4f} ± {half:.4f}", verdict]
        found.append(f"| {' | '.join(map(str, fields))} |")
    if not found:
        raise SystemExit(f"no benchmark named *_{' or *_'.join(PRECISIONS)} in the table")
    return found


def main(arguments: list[str]) -> None:
    """Print the table that belongs to the one of optima that is named."""
    if len(arguments) != 1:
        raise SystemExit("usage: python performance/precision.py results/precision/optimum.csv")
    print("| benchmark | precision | optimizer | batch size | metric | lr, float32 | lr | float32 | difference | optimum |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print(*lines(pd.read_csv(arguments[0])), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
