"""Choose the settings of a benchmark. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import json
from typing import Any

from sgdnoise.benchmarks import BOUNDS, LATER_SETTINGS, Settings, default_of, is_number, is_value

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "text, true or false, or a number",
}


def read(text: str) -> Settings:
    """Read settings from JSON."""
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        example = '{"l2_scope": "weights"}'
        raise ValueError(f"settings {text!r} are not JSON ({error}); write for example '{example}'") from None
    if not isinstance(found, dict):
        raise ValueError(f"settings {text!r} are not a mapping")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> Settings:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def resolve(chosen: Settings, protocol: dict[str, Any], where: str) -> Settings:
    """Fill in the defaults of the settings that were not chosen. A ValueError names the first that is not offered so."""
    offered = protocol["settings"]
    if unknown := set(chosen) - set(offered):
        raise ValueError(f"{where}: unknown setting {min(unknown)!r}; known: {', '.join(offered)}")
    settings = {}
    for name, offer in offered.items():
        settings[name] = value = chosen.get(name, default_of(offer))
        if problem := _problem(value, offer):
            raise ValueError(f"{where}.{name}: {value!r} is not {problem}")
    later = {name: default_of(offered[name]) for name in (*LATER_SETTINGS, *protocol.get("later", []))}
    return {name: value for name, value in settings.items() if (name, value) not in later.items()}


def _problem(value: Any, offer: Any) -> str:
    """Say what a value is not that a setting so offered is; nothing if it is."""
    if isinstance(offer, list):
        fits = any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in offer)
        return "" if fits else f"one of {offer}"
    default = default_of(offer)
    if isinstance(default, float):
        fits = is_number(value)
    else:
        fits = is_value(value) if default is None else type(value) is type(default)
    bounds = {word: end for word, end in offer.items() if word in BOUNDS} if isinstance(offer, dict) else {}
    if fits and all(BOUNDS[word](value, end) for word, end in bounds.items()):
        return ""
    example = f" as its default {default!r}" if default is not None and not bounds else ""
    return KINDS[type(default)] + example + "".join(f" {word} {end}" for word, end in bounds.items())
