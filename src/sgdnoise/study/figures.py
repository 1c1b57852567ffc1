"""Say which figures a study has, and what each shows in its own file's words. Light: importing this imports no plotting library."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.study.arms import at_equal_updates, compared
from sgdnoise.study.config import Config, check_part
from sgdnoise.study.grid import MODES, curve_sizes

COMPARING = ("variants", "ablation")  # the figures that compare benchmarks
WHOLE_STUDY = ("schedule", "claims", *COMPARING)  # those that are not of one benchmark
# The benchmarks of the paper of which it has batch sizes at equal updates (ICLR v5 tables 1, 2, 4, 5).
AT_EQUAL_UPDATES = ("wrn_cifar10", "wrn_skipinit_cifar10", "autoencoder_mnist", "lstm_ptb")


def figure_names(config: Config, benchmark: str) -> list[str]:
    """List the figures of a benchmark that a study asks for."""
    modes = [mode for mode in MODES if mode in config["benchmarks"][benchmark]]
    protocol = benchmarks.protocol(benchmark, config["benchmarks"][benchmark].get("file"))
    of_paper = protocol.get("sibling_of", benchmark) in AT_EQUAL_UPDATES
    optional = {
        "headline": of_paper and "momentum" in config["benchmarks"][benchmark].get("constant_step", {}),
        "regimes": "constant_epoch" in modes,
        "lr_sweep": benchmark in config["figures"]["lr_sweep"],
        "two_rates": benchmark in config["two_rates"],
        "time_to_target": benchmark in config["figures"]["targets"],
        "curves": curves_wanted(config, benchmark) is not None,
        "noise_scale": benchmark in config["noise_scale"],
        "gap": bool(compared(at_equal_updates(config["benchmarks"][benchmark]), config)),
    }
    return modes + [name for name, wanted in optional.items() if wanted]


def is_papers(config: Config) -> bool:
    """Tell whether a study is about the paper: any of its benchmarks stands for one of the paper's."""
    return any(benchmarks.is_papers(benchmarks.protocol(name, entry.get("file"))) for name, entry in config["benchmarks"].items())


def figure_paths(config: Config) -> list[str]:
    """List all figures of a study: paths below its figures folder, without the ending."""
    own = [f"{benchmark}/{name}" for benchmark in config["benchmarks"] for name in figure_names(config, benchmark)]
    of_paper = is_papers(config)
    return [name for name in WHOLE_STUDY if (config["figures"][name] if name in COMPARING else of_paper)] + own


def figure_arguments(config: Config, path: str) -> list[str]:
    """Return the arguments of `sgdnoise figure` that name a figure and say how it looks, but not its tables."""
    benchmark, _, name = path.rpartition("/")
    style = {key: config["figures"][key] for key in ("dpi", "context")}
    if name == "lr_sweep":
        style["lr_sweep"] = config["figures"]["lr_sweep"][benchmark]
    if name in COMPARING:
        style[name] = dict(config["figures"][name])
        style[name]["benchmarks"] = {one: chosen_settings(config, one) for one in style[name]["benchmarks"]}
    file = config["benchmarks"][benchmark].get("file") if benchmark else None
    of = [f"--benchmark={benchmark}"] * bool(benchmark) + [f"--file={file}"] * bool(file)
    return [name, *of, f"--style={json.dumps(style)}"]


def check_style(style: Config, benchmark: str | None) -> None:
    """Refuse what `figure_arguments` would not write after --style: a ValueError names it."""
    part = style | ({"lr_sweep": {benchmark or "": style["lr_sweep"]}} if "lr_sweep" in style else {})
    for name in COMPARING:
        if isinstance(style.get(name), dict) and style[name]:
            if not isinstance(style[name].get("benchmarks"), dict):
                raise ValueError(f"--style: {name}.benchmarks: expected {{benchmark: its settings in words}}")
            part[name] = style[name] | {"benchmarks": list(style[name]["benchmarks"])}
    check_part("figures", part, "--style")


def curves_wanted(config: Config, benchmark: str) -> Config | None:
    """Say which learning curves are drawn: those that the config names; else, of a network of one's own, at two batch sizes.

    These are the smallest and the largest of its first optimizer.
    """
    entry = config["benchmarks"][benchmark]
    if benchmark in config["figures"]["curves"]:
        return config["figures"]["curves"][benchmark]
    own = not benchmarks.is_papers(benchmarks.protocol(benchmark, entry.get("file")))
    if not own or config["evaluations"] < 2 or "constant_epoch" not in entry:
        return None
    optimizer = next(name for name in entry["constant_epoch"] if name != "epochs")
    sizes = sorted(map(int, entry["constant_epoch"][optimizer]))
    budget = f"epochs{entry['constant_epoch']['epochs']}"
    return {"optimizer": optimizer, "budget": budget, "batch_size": sorted({sizes[0], sizes[-1]})}


def curves_arguments(config: Config, benchmark: str) -> list[str]:
    """Return the arguments of `sgdnoise curves` that name the cells whose learning curves a study asks for."""
    wanted = curves_wanted(config, benchmark)
    assert wanted
    words = [f"--{name}={wanted[name]}" for name in ("optimizer", "budget")]
    sizes = curve_sizes(wanted)
    words += [f"--batch-size={sizes[0]}"] if len(sizes) == 1 else ["--batch-size", *map(str, sizes)]
    return [f"--benchmark={benchmark}", *words] + (["--lr", *map(str, wanted["lr"])] if "lr" in wanted else [])


def chosen_settings(config: Config, benchmark: str) -> str:
    """Write the settings of a benchmark that a study chooses, and what it is a variant of."""
    entry = config["benchmarks"][benchmark]
    words = [f"{name}: {json.dumps(value)}" for name, value in entry.get("settings", {}).items() if name != "micro_batch"]
    return ", ".join(words).replace('"', "")


def caption(figure: str) -> str:
    """Return the docstring of the file that draws a figure, without running it: the question, then how to read the answer.

    >>> caption("schedule")
    'The learning-rate schedule that every run follows (ICLR v5 fig. 3).'
    """
    tree = ast.parse((Path(__file__).parents[1] / "figures" / f"{figure}.py").read_bytes())
    return inspect.cleandoc(ast.get_docstring(tree) or "")
