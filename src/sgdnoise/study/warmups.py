"""Where a warmup takes all of a run. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

from collections.abc import Iterator

from sgdnoise.study import grid, optimizers
from sgdnoise.study.cell import warmup_of
from sgdnoise.study.config import Config
from sgdnoise.study.text import protocol_of


def warnings(config: Config) -> Iterator[str]:
    """Name each optimizer of a benchmark whose warmup is as long as a run or longer, and where."""
    entries = config["benchmarks"].values()
    names = {name for entry in entries for mode, fixed in grid.MODES.items() for name in entry.get(mode, {}) if name != fixed}
    rising = {name: one for name in names if (one := optimizers.of(config, name)).warmup_steps or one.warmup_epochs}
    found: dict[tuple[str, str, str], set[int]] = {}
    for cell in grid.whole_cells(config) if rising else []:
        own = rising.get(cell.optimizer)
        if own and warmup_of(own, cell.batch_size, protocol_of(cell.benchmark, config)) >= cell.num_steps:
            found.setdefault((cell.benchmark, cell.optimizer, cell.budget), set()).add(cell.batch_size)
    for (benchmark, name, budget), sizes in found.items():
        where = f"{budget} at batch size {', '.join(map(str, sorted(sizes)))}"
        yield f"{benchmark}: the warmup of {name} takes all of a run of {where}, so its learning rates are hardly trained with, or not"
