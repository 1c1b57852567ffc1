"""What is written: the rates beside what we aim at, and what the sweeps of the paper would cost."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from peers import PEERS
from rows import Row, examples, record

from sgdnoise import benchmarks
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import load_config

EPOCHS = 200  # of a run of the Wide-ResNet
PAPER = Path(__file__).parents[2] / "workflow/config/paper.yaml"
# Of every row: the rates that it must and should reach, and how many times those of peers.
AIMS: list[tuple[float, float, dict[str, float]]] = [
    (60e3, 100e3, {"P1": 10, "others": 1.2}),
    (90e3, 120e3, {"P1": 4, "others": 1.15}),
    (105e3, 130e3, {"P1": 1.4, "others": 1.05}),
    (115e3, 150e3, {"P1": 1.2, "P2": 1}),
    (115e3, 150e3, {"P6": 1.5, "P7": 1 / 1.05}),
    (125e3, 165e3, {}),
    (55e3, 75e3, {}),
    (1.83e6, 2.56e6, {"P1": 15, "P5": 1.2}),
    (0, 0, {"P1": 3}),
    (0, 0, {"P1": 1}),
    (3e3, 4.5e3, {"P2": 1}),
]
# Of the sweeps: the images per second of all cells together, how many times those of P1, and of the best peer of every cell.
SWEEP_AIMS = {"constant_epoch": (87.5e3, 3.5, 1.15), "constant_step": (111e3, 1.3, 1)}
FLAT = 0.5  # the rate at the smallest batch size must be so much of that at 1024
START = 0.02  # starting and capturing must take so much of a run at most
# The least memory traffic of an example besides that of the weights, in bfloat16, in MB. Counted: what convolutions and norms read
# and write, with norm, ReLU and sum fused; next to nothing where there are none.
MEGABYTES = {"wrn_cifar10": 15.5, "wrn_skipinit_cifar10": 12.6, "resnet50_imagenet": 331}


def roofline(row: Row, flops: float, bytes_per_second: float) -> float:
    """Return the examples per second that arithmetic, or memory traffic, alone allows."""
    weights = sum(parameter.numel() for parameter in record(row).build().parameters())
    activations = 1e6 * MEGABYTES.get(row.benchmark, 0) * (1 if row.precision == "bfloat16" else 2)
    traffic = activations + 32 * weights / examples(row)  # eight passes of float32 over the weights in an update
    return 1 / max(benchmarks.protocol(row.benchmark)["train_flops"] / flops, traffic / bytes_per_second)


def verdict(must: float, ratios: dict[str, float], median: dict[str, float]) -> str:
    """Say whether what a row must reach was reached, as far as it was measured."""
    others = [rate for name, rate in median.items() if name in ("P2", "P3", "P4", "P5")]
    best = median | ({"others": max(others)} if others else {})
    aims = [(f"{must:,.0f}", must)] * bool(must)
    aims += [(f"{ratio:.3g} x {name}", ratio * best[name]) for name, ratio in ratios.items() if name in best]
    return "; ".join(f"{aim}: {'met' if median['ours'] >= least else 'missed'}" for aim, least in aims)


def line(row: Row, rates: dict[str, list[float]], limit: float, aims: tuple[float, float, dict[str, float]]) -> str:
    """Write a row of the table."""
    must, stretch, of_peers = aims
    median = {name: statistics.median(values) for name, values in rates.items()}
    ratios = [f"{median['ours'] / median[name]:.2f}" if name in median else "" for name in PEERS]
    rate = f"{median['ours']:,.0f} ({min(rates['ours']):,.0f} to {max(rates['ours']):,.0f})"
    cells = [row.title, row.batch_size, row.seeds, row.precision, rate, *ratios, verdict(must, of_peers, median)]
    return f"| {' | '.join(map(str, cells))} | {f'{stretch:,.0f}' if stretch else ''} | {median['ours'] / limit:.0%} |"


def summary(samples: list[dict[str, Any]]) -> str:
    """Write what follows from the rows of the Wide-ResNet in bfloat16: the cost of its sweeps, flatness, start."""
    rows = [one for one in samples if (one["row"]["title"], one["row"]["precision"]) == ("WRN-16-4", "bfloat16")]
    known: dict[str, dict[int, float]] = {}  # of every contender, by batch size
    for one in rows:
        for name, values in one["examples_per_second"].items():
            known.setdefault(name, {})[one["row"]["batch_size"]] = statistics.median(values)
    if "ours" not in known or "P1" not in known:
        return "no summary: ours or P1 is missing from all rows of WRN-16-4"

    def rate(name: str, batch_size: int) -> float:
        sizes = sorted(known[name])
        return float(np.exp(np.interp(np.log(batch_size), np.log(sizes), np.log([known[name][size] for size in sizes]))))

    cells = [one for one in grid.cells(load_config(str(PAPER))) if one.benchmark == "wrn_cifar10"]
    lines, peers = [], [name for name in known if name in ("P1", "P2", "P3")]
    for mode, (must, of_p1, of_best) in SWEEP_AIMS.items():
        seconds, images, runs = {"ours": 0.0, "P1": 0.0, "best": 0.0}, 0, 0
        for cell in cells:
            if mode in cell.modes:
                num = cell.num_steps * cell.batch_size * len(seed_range(cell.seeds))
                rates = {name: rate(name, cell.batch_size) for name in ("ours", *peers)}
                rates["best"] = max(rates[name] for name in peers)
                for name in seconds:
                    seconds[name] += num / rates[name]
                images, runs = images + num, runs + len(seed_range(cell.seeds))
        hours = {name: spent / 3600 for name, spent in seconds.items()}
        aims = [(f"{must:,.0f} images/s", images / seconds["ours"] / must)]
        aims += [
            (f"{of_p1} x P1", hours["P1"] / hours["ours"] / of_p1),
            (f"{of_best} x the best", hours["best"] / hours["ours"] / of_best),
        ]
        reached = "; ".join(f"{aim}: {'met' if share >= 1 else 'missed'}" for aim, share in aims)
        lines.append(
            f"{mode}, {runs:,} runs: {hours['ours']:.1f} GPU-hours; P1 {hours['P1']:.1f}; the best peer of every cell"
            f" {hours['best']:.1f} ({reached})"
        )
    flat = known["ours"][min(known["ours"])] / rate("ours", 1024)
    lines.append(f"rate at batch size {min(known['ours'])} / at 1024: {flat:.2f} ({FLAT}: {'met' if flat >= FLAT else 'missed'})")
    for one in rows:
        if (seconds_to_start := one["starts"].get("ours")) is None:
            continue
        size, seeds = one["row"]["batch_size"], one["row"]["seeds"]
        share = seconds_to_start / (seeds * EPOCHS * 50_000 / rate("ours", size))
        met = "met" if share <= START else "missed"
        lines.append(f"start at batch size {size}: {seconds_to_start:.1f} s, {share:.1%} of {seeds} run(s) ({START:.0%}: {met})")
    return "\n".join(lines)
