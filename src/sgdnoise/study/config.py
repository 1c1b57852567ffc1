"""Read a study's config and check it against its schema. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any

Config = dict[str, Any]


def load_config(path: str) -> Config:
    """Read a config file (YAML or JSON) and validate it."""
    import yaml

    try:
        config = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the config {path}: {error}") from error
    return validate(config)


def validate(config: Any) -> Config:
    """Check a config against the schema; return it with defaults filled in and all keys as strings."""
    import jsonschema
    import yaml

    config = json.loads(json.dumps(config, default=str))  # YAML reads the key 64: as a number
    schema = yaml.safe_load((Path(__file__).parent / "config.schema.yaml").read_text())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(config)
    if error := jsonschema.exceptions.best_match(errors):
        raise ValueError(f"config: {_explain(error)}")
    for key, value in schema["properties"].items():
        config.setdefault(key, value.get("default"))
    for key, value in schema["properties"]["figures"]["properties"].items():
        config["figures"].setdefault(key, value["default"])
    for entry, key in ((config, "results"), (config, "data"), (config["figures"], "folder")):
        entry[key] = os.path.normpath(entry[key]) if os.path.normpath(entry[key]) != "." else os.getcwd()  # Snakemake warns of ./
    if unknown := set(config["figures"]["lr_sweep"]) - set(config["benchmarks"]):
        raise ValueError(f"config: figures.lr_sweep.{min(unknown)}: no such benchmark in this study")
    number, shards = map(int, config["shard"].split("/"))
    if number > shards:
        raise ValueError(f"config: shard: {config['shard']}: the first number is from 1 to the second")
    if config["extend_grid"] and (config["allow_missing"] or shards > 1):
        raise ValueError("config: extend_grid: it needs every cell of a window, so neither allow_missing nor shard goes with it")
    for name, entry in config["benchmarks"].items():
        if (few := config["bracket_seeds"]) >= (num := entry["seeds"]["num"]):
            raise ValueError(f"config: bracket_seeds: {few} is not fewer than benchmarks.{name}.seeds.num {num}; choose fewer")
    for name, entry in config["noise_scale"].items():
        if name not in config["benchmarks"]:
            raise ValueError(f"config: noise_scale.{name}: no such benchmark in this study")
        for key, value in schema["properties"]["noise_scale"]["additionalProperties"]["properties"].items():
            entry.setdefault(key, value.get("default"))
    return config


def _explain(error: Any) -> str:
    """Say where a schema error is, what is wrong and what would be right."""
    where = ".".join(map(str, error.absolute_path)) or "top level"
    right = error.schema.get("description", "")
    if error.validator == "additionalProperties":
        patterns = error.schema.get("patternProperties", {})
        known = sorted(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known and not any(re.search(p, key) for p in patterns)]
        close = difflib.get_close_matches(unknown[0], known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        expected = f"known: {', '.join(known)}" if known else f"expected {right}"
        return f"{where}: unknown key {unknown[0]!r}; {hint}{expected}"
    return f"{where}: {error.message}" + (f"; expected {right}" if right else "")


def grid_part(config: Config) -> str:
    """Return the part of a config that decides the cells and their tables, as canonical JSON."""
    extension = ("extend_grid", "extend_limit", "bracket_seeds") if config["extend_grid"] else ()
    keys = ("allow_missing", "benchmarks", "overrides", "evaluations", "results", *extension)
    return json.dumps({key: config[key] for key in keys}, sort_keys=True)
