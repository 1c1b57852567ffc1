"""Read a study's config and check it against its schema. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import copy
import functools
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgdnoise.benchmarks import hint, is_variant, protocol
from sgdnoise.machine.files import expanded
from sgdnoise.study import reader

Config = dict[str, Any]

LARGEST = 2**63 - 1  # whole number: what comes after the config keeps them in 64 bits


def load_config(*paths: str | Path, changes: Mapping[str, Any] | None = None) -> Config:
    """Read config files (YAML or JSON), each on top of those before, and what `--config` changes; return it validated."""
    config: Config = {}
    for path in paths:
        found = reader.read_file(path)
        if not isinstance(found, dict):
            raise ValueError(f"config: {path} is not a mapping; expected a study, see config.yaml in the repository")
        reader.merge(config, found if found.get("frozen") is True else _with_files(found, path))
    return validate(reader.merge(config, reader.typed(changes or {}, "")))


def _with_files(config: Config, path: str | Path) -> Config:
    """Write the `file` of each benchmark, which is relative to the config that names it, relative to the working folder."""
    folder, entries = os.path.dirname(path) or ".", config.get("benchmarks")
    if os.path.samefile(folder, ".") or not isinstance(entries, dict):
        return config
    found = {}
    for name, entry in entries.items():
        file = entry.get("file") if isinstance(entry, dict) else None
        if isinstance(file, str) and not os.path.isabs(os.path.expanduser(file)) and not is_variant(file):
            entry = entry | {"file": os.path.relpath(os.path.join(folder, file))}
        found[name] = entry
    return config | {"benchmarks": found}


def validate(config: Any) -> Config:
    """Check a config against the schema; return a copy with defaults filled in, all keys as text and ~ in paths written out."""
    from jsonschema.exceptions import best_match

    config, validator = _plain(config, ""), _validator()
    if error := best_match(validator.iter_errors(config)):
        raise ValueError(f"config: {' '.join(_explain(error).split())}")
    schema = copy.deepcopy(validator.schema)
    for key, value in schema["properties"].items():
        config.setdefault(key, value.get("default"))
    for key, value in schema["properties"]["figures"]["properties"].items():
        config["figures"].setdefault(key, value["default"])
    if config["decide"] is not None:
        claims = config["decide"].setdefault("claims", "all")
        config["decide"]["claims"] = claims if claims == "all" else list(map(str, claims))
    for entry in config["noise_scale"].values():
        for key, value in schema["properties"]["noise_scale"]["additionalProperties"]["properties"].items():
            entry.setdefault(key, value.get("default"))
    _expand_paths(config)
    _check(config)
    return config


def check_part(key: str, value: Any, where: str) -> None:
    """Check what is the value of a key of the config, but was given `where`."""
    from jsonschema.exceptions import best_match

    if error := best_match(_validator().descend(_plain(value, where), _validator().schema["properties"][key])):
        raise ValueError(f"{where}: {' '.join(_explain(error).split())}")


@functools.cache
def _validator() -> Any:
    """Read the schema; a whole number is one that is written so, not 4.0."""
    import jsonschema
    import yaml

    schema = yaml.safe_load((Path(__file__).parent / "config.schema.yaml").read_text(encoding="utf-8"))
    types = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda checker, value: type(value) is int)
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=types)(schema)


def _plain(value: Any, where: str) -> Any:
    """Copy a config with all keys as text; refuse two that are the same then, and numbers that are none or too large."""
    if isinstance(value, Mapping):
        plain: Config = {}
        for key, one in value.items():
            name = str(key) if type(key) is int else key
            if not isinstance(name, str):
                raise ValueError(f"config: {where or 'top level'}: unknown key {key!r}; put text in quotes")
            if name in plain:
                raise ValueError(
                    f"config: {where or 'top level'}: the key {name} is there twice, as a number and as text; keep one"
                )
            plain[name] = _plain(one, f"{where}.{name}" if where else name)
        return plain
    if isinstance(value, list | tuple):
        return [_plain(one, f"{where}.{index}") for index, one in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"config: {where}: {value} is not a finite number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"config: {where}: a whole number of more than 64 bits")
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError(f"config: {where}: {value} is neither text nor a number; put text in quotes")
    return value


def _expand_paths(config: Config) -> None:
    """Write ~ out in every path of a config, and folders in one way."""
    paths = [(config, "results", "results"), (config, "data", "data"), (config["figures"], "folder", "figures.folder")]
    paths += [(entry, "file", f"benchmarks.{name}.file") for name, entry in config["benchmarks"].items() if "file" in entry]
    for entry, key, where in paths:
        try:
            entry[key] = expanded(entry[key])
            if key != "file":  # Snakemake warns of ./
                entry[key] = os.path.normpath(entry[key]) if os.path.normpath(entry[key]) != "." else os.getcwd()
        except ValueError as error:
            raise ValueError(f"config: {where}: {error}") from None


def _check(config: Config) -> None:
    """Refuse what one part of a config makes of another, where that is no study."""
    number, shards = map(int, config["shard"].split("/"))
    if number > shards:
        raise ValueError(f"config: shard: {config['shard']}: the first number is from 1 to the second")
    if config["extend_grid"] and (config["allow_missing"] or shards > 1):
        raise ValueError("config: extend_grid: it needs every cell of a window, so neither allow_missing nor shard goes with it")
    if config["decide"] is not None:
        if config["allow_missing"] or shards > 1:
            raise ValueError("config: decide: it needs every cell of a look, so neither allow_missing nor shard goes with it")
        if (most := config["decide"]["max_seeds"]) <= (
            least := min(one["seeds"]["num"] for one in config["benchmarks"].values())
        ):
            raise ValueError(f"config: decide.max_seeds: {most} adds none to the {least} of `seeds`; choose more")
    figures = config["figures"]
    named = {f"figures.{name}": figures[name] for name in ("lr_sweep", "curves", "targets")}
    named |= {f"figures.{name}": figures[name].get("benchmarks", []) for name in ("variants", "ablation")}
    for where, entries in (named | {name: config[name] for name in ("noise_scale", "two_rates")}).items():
        if unknown := set(entries) - set(config["benchmarks"]):
            raise ValueError(f"config: {where}.{min(unknown)}: no such benchmark in this study")
    for figure in ("variants", "ablation"):
        _check_compared(config, figure)
    for name in figures["targets"]:
        if config["evaluations"] < 2:
            raise ValueError(
                f"config: figures.targets.{name}: evaluations is 1, but only several in a run say when it is reached"
            )
        if not {"constant_epoch", "constant_step"} & set(config["benchmarks"][name]):
            raise ValueError(f"config: figures.targets.{name}: no batch sizes to compare; add constant_epoch or constant_step")
    for name, entry in config["benchmarks"].items():
        if entry.get("settings", {}).get("precision") == "tf32" and config["device"] == "cpu":
            raise ValueError(f"config: benchmarks.{name}.settings.precision: tf32 is for GPUs of NVIDIA, but device is cpu")
        if (few := config["bracket_seeds"]) >= (num := entry["seeds"]["num"]):
            raise ValueError(f"config: bracket_seeds: {few} is not fewer than benchmarks.{name}.seeds.num {num}; choose fewer")
        sizes = {mode: batch_sizes(entry, mode) for mode in ("constant_epoch", "constant_step", "unlimited")}
        if strange := set(map(str, config["figures"]["lr_sweep"].get(name, []))) - sizes["constant_epoch"]:
            raise ValueError(f"config: figures.lr_sweep.{name}: batch size {min(strange)} has no window in constant_epoch")
        for figure in ("variants", "ablation"):
            if name in figures[figure].get("benchmarks", []):
                windows = entry.get("constant_epoch", {}).get(figures[figure]["optimizer"], {})
                if str(size := figures[figure].get("batch_size", min(windows, default=0))) not in windows:
                    what = f"{figures[figure]['optimizer']}" + f" at batch size {size}" * (figure == "ablation")
                    raise ValueError(f"config: figures.{figure}: {name} has no window of {what} in constant_epoch")
        if (
            unused := set(entry.get("processes", {}))
            - {size for some in sizes.values() for size in some}
            - ({str(config["two_rates"][name]["batch_size"])} if name in config["two_rates"] else set())
        ):
            raise ValueError(f"config: benchmarks.{name}.processes.{min(unused)}: no cell of this study has that batch size")


def _check_compared(config: Config, figure: str) -> None:
    """Refuse a figure that compares benchmarks whose test and train metrics are not the same."""
    found = {}
    for name in config["figures"][figure].get("benchmarks", []):
        metrics = protocol(name, config["benchmarks"][name].get("file"))["metrics"]
        found[name] = " and ".join(f"{metric} ({direction})" for metric, direction in list(metrics.items())[:2])
    for name, metrics in found.items():
        if metrics != found[first := next(iter(found))]:
            raise ValueError(
                f"config: figures.{figure}: {first} has {found[first]}, {name} has {metrics}; compare benchmarks that have the same"
            )


def batch_sizes(entry: Config, mode: str) -> set[str]:
    """List the batch sizes that a benchmark of the config has in a budget mode."""
    if mode == "unlimited":
        return {str(entry[mode]["batch_size"])} if mode in entry else set()
    return {size for windows in entry.get(mode, {}).values() if isinstance(windows, dict) for size in windows}


def _explain(error: Any) -> str:
    """Say where a schema error is, what is wrong and what would be right."""
    where = ".".join(map(str, error.absolute_path)) or "top level"
    right = error.schema.get("description", "")
    if error.validator == "additionalProperties":
        patterns = error.schema.get("patternProperties", {})
        known = sorted(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known and not any(re.search(p, key) for p in patterns)]
        expected = f"known: {', '.join(known)}" if known else f"expected {right}"
        return f"{where}: unknown key {unknown[0]!r}; {hint(unknown[0], known)}{expected}"
    return f"{where}: {error.message}" + (f"; expected {right}" if right else "")


def grid_part(config: Config) -> str:
    """Return the part of a config that decides the cells and their tables, as canonical JSON."""
    extension = ("extend_grid", "extend_limit", "bracket_seeds") if config["extend_grid"] else ()
    decision = ("decide", "looks") if config["decide"] is not None else ()
    keys = ("allow_missing", "benchmarks", "overrides", "evaluations", "results", *extension, *decision)
    frozen = {"frozen": True} if any("file" in entry for entry in config["benchmarks"].values()) else {}
    chosen = {key: config[key] for key in ("optimizers", "two_rates") if config[key]}
    return json.dumps({key: config[key] for key in keys} | chosen | frozen, sort_keys=True)
