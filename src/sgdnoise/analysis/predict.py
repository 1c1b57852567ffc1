"""What the noisy quadratic model predicts of a study: optimal learning rates, losses, critical batch sizes, and statements on optimizers.

Its level of noise is a free parameter and its loss is nobody's, so that batch sizes and losses are not those of a network: who is ahead
where, and in which order regimes come, is what is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis.gap import RISE, leaves_plateau
from sgdnoise.analysis.noisy_quadratic import FORMS, expected_loss, form_of, optimum, stages
from sgdnoise.study import budgets, grid, optimizers
from sgdnoise.study.config import Config
from sgdnoise.study.grid import MODES
from sgdnoise.study.optimizers import OPTIMIZERS, Optimizer
from sgdnoise.study.schedule import SHAPES


@dataclass(frozen=True)
class Point:
    """A point of the grid, to be predicted; `one` is what a study knows of the optimizer of that name."""

    benchmark: str
    mode: str
    optimizer: str
    budget: str
    batch_size: int
    num_steps: int
    one: Optimizer
    warmup_steps: int = 0


@dataclass(frozen=True)
class Statement:
    """A statement that the model decides: `answer` is yes, no, or open if no batch size that was asked for decides it."""

    benchmark: str
    answer: str
    text: str
    numbers: str


def of_study(config: Config) -> tuple[list[Point], list[str]]:
    """Return the points of a study that the model knows, and a note for each optimizer that it does not."""
    found, unknown = dict[Point, None](), dict[str, None]()
    for cell in grid.cells(config):
        one = optimizers.of(config, cell.optimizer)
        if form_of(cell.optimizer, one) is None:
            unknown[f"{cell.optimizer}: it has no form in the model"] = None
            continue
        if one.schedule not in ("paper", *SHAPES):
            unknown[f"{cell.optimizer}: its schedule {one.schedule} is a function of the benchmark's own file"] = None
            continue
        warmup_steps = one.warmup_steps
        if one.warmup_epochs:
            protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), cell.spec["settings"])
            warmup_steps = budgets.epochs_to_steps(one.warmup_epochs, cell.batch_size, protocol)
        for mode in cell.modes:
            point = (cell.benchmark, mode, cell.optimizer, cell.budget, cell.batch_size, cell.num_steps)
            found[Point(*point, one, warmup_steps)] = None
    return list(found), [f"left out {note}" for note in unknown]


def of_budgets(names: Sequence[str], batch_sizes: Sequence[int], amounts: dict[str, int | None], num_train: int) -> list[Point]:
    """Return the points of optimizers, by name, at batch sizes under budgets, {"epochs" or "steps": amount, None for none}.

    >>> points = of_budgets(["adam"], [16, 32], {"epochs": 2, "steps": None}, 1000)
    >>> [(point.mode, point.batch_size, point.num_steps) for point in points]
    [('constant_epoch', 16, 125), ('constant_epoch', 32, 62)]
    """
    known = [name for name, one in OPTIMIZERS.items() if form_of(name, one) and not one.warmup_epochs]
    known += [name for name in FORMS if name not in known]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"optimizer {unknown[0]!r} has no form in the model; known: {', '.join(known)}")
    found = []
    for mode, kind in MODES.items():
        if not (amount := amounts.get(kind)):
            continue
        for name in dict.fromkeys(names):
            for size in sorted(set(batch_sizes)):
                num_steps = budgets.num_steps(f"{kind}{amount}", size, {"num_train": num_train})
                one = OPTIMIZERS.get(name, Optimizer(name))
                found.append(Point("model", mode, name, f"{kind}{amount}", size, num_steps, one))
    return found


def predict(points: Sequence[Point], noise: float) -> pd.DataFrame:
    """Return a row per point with the optimal learning rate and the loss there, of the model with `noise` at batch size 1."""
    rows = []
    for point in points:
        form = form_of(point.optimizer, point.one)
        assert form
        schedule = stages(point.one, point.num_steps, point.warmup_steps)
        lr, loss = optimum(partial(expected_loss, form=form, schedule=schedule, noise=noise / point.batch_size))
        names = ("benchmark", "mode", "optimizer", "budget", "batch_size", "num_steps")
        rows.append({name: getattr(point, name) for name in names} | {"noise": noise, "lr": lr, "loss": loss})
    return pd.DataFrame(rows)


def critical_batch_size(batch_sizes: np.ndarray, losses: np.ndarray, tolerance: float = RISE) -> float:
    """Return the largest batch size up to which the loss is within a share of the smallest's; infinite if none is beyond it.

    Where it exceeds that first, the loss is interpolated in log2 of the batch size.

    >>> round(critical_batch_size(np.array([1, 2, 8]), np.array([1.0, 1.0, 1.2])), 9)
    4.0
    """
    return float(2 ** leaves_plateau(batch_sizes, losses[:, None], tolerance)[0])


def critical_batch_sizes(losses: pd.DataFrame) -> dict[str, float]:
    """Return the critical batch size of each optimizer, from losses of the constant epoch budget (batch sizes x optimizers)."""
    found = {name: column.dropna() for name, column in losses.items()}
    return {str(name): critical_batch_size(some.index.to_numpy(float), some.to_numpy()) for name, some in found.items()}


def losses_of(table: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Return the losses of a budget mode of one benchmark, batch sizes x optimizers."""
    rows = table[table["mode"] == mode]
    return rows.pivot(index="batch_size", columns="optimizer", values="loss")[list(dict.fromkeys(rows["optimizer"]))]


def statements(table: pd.DataFrame, margin: float) -> list[Statement]:
    """Decide what is said of optimizers beside SGD, for each benchmark of a table of `predict` that has both.

    An optimizer is better than SGD where its loss is below SGD's by more than `margin` of SGD's.
    """
    found = []
    for benchmark, rows in table.groupby("benchmark", sort=False):
        epochs, steps = (losses_of(rows, mode) for mode in ("constant_epoch", "constant_step"))
        decided = [*_at_the_ends(epochs, margin), *_at_constant_steps(steps, margin), *_of_svrg(epochs, steps, margin)]
        found += [Statement(str(benchmark), *one) for one in [*decided, *_order(critical_batch_sizes(epochs))]]
    return found


Decided = tuple[str, str, str]  # answer, text, numbers


def _shares(losses: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the losses of each other optimizer over SGD's, at the batch sizes that both have."""
    if "sgd" not in losses:
        return {}
    shares = {str(name): (column / losses["sgd"]).dropna() for name, column in losses.items() if name != "sgd"}
    return {name: share for name, share in shares.items() if len(share)}


def _answer(holds: bool) -> str:
    return "yes" if holds else "no"


def _at_the_ends(losses: pd.DataFrame, margin: float) -> Iterator[Decided]:
    others = {name: share for name, share in _shares(losses).items() if name != "svrg"}
    for end, text, better in ((0, "no better than SGD at the smallest", False), (-1, "better than SGD at the largest", True)):
        for name, share in others.items():
            numbers = f"loss / SGD's {share.iloc[end]:.3f} at {share.index[end]}"
            yield (
                _answer((share.iloc[end] < 1 - margin) == better),
                f"constant epochs: {name} is {text} batch size of both",
                numbers,
            )


def _at_constant_steps(losses: pd.DataFrame, margin: float) -> Iterator[Decided]:
    better = {name: [str(size) for size in share.index[share < 1 - margin]] for name, share in _shares(losses).items()}
    where = better.pop("momentum", None)
    for name, sizes in better.items():
        if where is not None and name != "svrg":
            numbers = f"momentum at {' '.join(where) or 'none'}, {name} at {' '.join(sizes) or 'none'}"
            holds = _answer(set(where) <= set(sizes)) if where else "open"
            yield holds, f"constant steps: {name} is better than SGD wherever momentum is", numbers


def _of_svrg(epochs: pd.DataFrame, steps: pd.DataFrame, margin: float) -> Iterator[Decided]:
    for mode, losses in (("epochs", epochs), ("steps", steps)):
        if (share := _shares(losses).get("svrg")) is not None:
            better = [f"{size} (loss / SGD's {value:.3g})" for size, value in share[share < 1 - margin].items()]
            yield (
                _answer(not better),
                f"constant {mode}: SVRG is nowhere better than SGD",
                f"better at {', '.join(better) or 'none'}",
            )


def _order(critical: dict[str, float]) -> Iterator[Decided]:
    """Compare the critical batch sizes of neighbours in the order SGD, momentum, then Adam and K-FAC."""
    pairs = [("sgd", "momentum"), *(("momentum", name) for name in ("adam", "adam_decoupled", "kfac"))]
    for first, second in pairs:
        if first in critical and second in critical:
            low, high = critical[first], critical[second]
            answer = "open" if np.isinf([low, high]).all() else _answer(low < high)
            yield answer, f"critical batch sizes: {first} < {second}", f"{_size(low)} and {_size(high)}"


def _size(batch_size: float) -> str:
    return "beyond all" if np.isinf(batch_size) else f"{batch_size:,.0f}"


def text(table: pd.DataFrame, margin: float) -> str:
    """Write predictions for a reader: a block per benchmark and budget mode, then the statements that they decide."""
    blocks = [_block(str(names[0]), str(names[1]), rows) for names, rows in table.groupby(["benchmark", "mode"], sort=False)]
    lines = []
    for one in statements(table, margin):
        where = f"{one.benchmark}, " * (table["benchmark"].nunique() > 1)
        lines.append(f"{one.answer:<5}{where}{one.text} ({one.numbers})")
    said = f"The model says (better: by more than {margin:.3g} of SGD's loss):"
    nothing = "No optimizer stands beside sgd under constant epochs or steps: nothing is compared."
    noise = (
        f"Noisy quadratic model (Zhang et al. 2019), noise {table['noise'].iloc[0]:g} at batch size 1. The noise is a free parameter:"
        "\nbatch sizes can be compared only up to it. Who is ahead and the order of regimes is what is predicted."
    )
    return "\n\n".join([noise, *blocks, "\n".join([said, *lines]) if lines else nothing])


def _block(benchmark: str, mode: str, rows: pd.DataFrame) -> str:
    """Write the optimal learning rates and losses of a budget mode, a line per batch size or, if there is only that one, budget."""
    names, swept = list(dict.fromkeys(rows["optimizer"])), "budget" if mode == "unlimited" else "batch_size"
    lines = [f"{benchmark}, {mode}: optimal learning rate, loss", f"{swept.replace('_', ' '):<14}{'updates':>10}"]
    lines[1] += "".join(f"{name:>22}" for name in names)
    for key, some in rows.sort_values(["num_steps", "batch_size"] if mode == "unlimited" else "batch_size").groupby(
        swept, sort=False
    ):
        by_name = some.set_index("optimizer")
        cells = [f"{by_name['lr'][name]:.3g}, {by_name['loss'][name]:.4g}" if name in by_name.index else "" for name in names]
        lines.append(f"{key:<14}{some['num_steps'].iloc[0]:>10,}" + "".join(f"{cell:>22}" for cell in cells))
    if mode == "constant_epoch":
        critical = critical_batch_sizes(losses_of(rows, mode))
        lines.append(f"{'critical batch size':<24}" + "".join(f"{_size(critical[name]):>22}" for name in names))
        lines.append(f"(critical: up to it the loss is within {RISE:.0%} of the smallest batch size's, interpolated in log2)")
    return "\n".join(lines)
