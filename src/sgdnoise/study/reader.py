"""Read a config file as a person means it. Light: importing this imports neither torch, numpy nor pandas.

YAML keeps the last of two equal keys, and its versions read some words differently: `032` is 26 or 32, `1:30` is 90 or text, `1e3`
text or a number, `no` is false or text. Both are refused here. A key is text: `64` and `"64"` are the same.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+"  # in YAML 1.2
# How a word has to be written that is read as such; so that it is read as nothing else.
WRITTEN = {
    "null": r".*",
    "merge": r".*",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "str": rf"(?!({NUMBER})\Z)(?s:.*)",
}


def read_file(path: str | Path) -> Any:
    """Read a YAML or JSON file. A ValueError of one line names the file, and what is wrong in which line."""
    import yaml

    try:
        return _read(Path(path).read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the config {path}: it is not text in UTF-8 ({error}); save it as UTF-8") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the config {path}: {' '.join(str(error).split())}") from error


def _read(text: str) -> Any:
    import yaml

    try:
        parsed = [json.loads(text)]  # where 1e-05 is a number and nothing else
    except json.JSONDecodeError:
        parsed = []
    loader = yaml.SafeLoader(text.replace("\t", " ") if parsed else text)  # where JSON may have a tab, but YAML not
    root = loader.get_single_node()
    if root is None:
        return None
    _check(loader, root, "", (), set(), words=not parsed)
    return parsed[0] if parsed else loader.construct_document(root)


def _check(loader: yaml.SafeLoader, node: yaml.Node, where: str, above: tuple[int, ...], seen: set[int], words: bool) -> None:
    """Refuse what a document has below a node, at `where`, that is there twice or ambiguous; make text of its keys."""
    import yaml

    line = node.start_mark.line + 1
    if id(node) in above:
        raise ValueError(f"line {line}: {where or 'the top level'} contains itself")
    if id(node) in seen:  # by another name
        return
    seen.add(id(node))
    below = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):
        if words:
            _check_word(loader, node, f"line {line}: {where}")
        return
    if node.tag != loader.resolve(type(node), None, True):
        raise ValueError(f"line {line}: {where}: write it without the tag {node.tag}")
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check(loader, item, _join(where, str(index)), below, seen, words)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name = _join(where, _text_of(loader, key, where))
        if name in lines:
            raise ValueError(f"{name} is there twice, in lines {lines[name]} and {key.start_mark.line + 1}; keep one of them")
        lines[name] = key.start_mark.line + 1
        _check(loader, value, name, below, seen, words)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _text_of(loader: yaml.SafeLoader, key: yaml.Node, where: str) -> str:
    """Make a key text, however it is written, and return it."""
    import yaml

    line = f"line {key.start_mark.line + 1}: {where or 'the top level'}"
    if not isinstance(key, yaml.ScalarNode):
        raise ValueError(f"{line}: a key is a list or a mapping")
    kind = _check_word(loader, key, f"{line}: the key")
    if kind == "int":
        key.value = str(int(key.value))
    elif kind not in ("str", "merge"):
        raise ValueError(f"{line}: the key {key.value or 'that is empty'} is not text; put it in quotes")
    if kind != "merge":
        key.tag, key.style = loader.resolve(yaml.ScalarNode, key.value, (False, True)), '"'
    return key.value


def _check_word(loader: yaml.SafeLoader, node: yaml.ScalarNode, where: str) -> str:
    """Refuse a word that the versions of YAML read differently; return what this one reads: "str", "int", ..."""
    import yaml

    plain = node.style is None
    if node.tag != loader.resolve(yaml.ScalarNode, node.value, (plain, not plain)):
        raise ValueError(f"{where}: write {node.value!r} without the tag {node.tag}")
    kind = node.tag.rpartition(":")[2]
    if plain and not re.fullmatch(WRITTEN.get(kind, "(?!)"), node.value):
        right = "write true or false, a number as 32, 0.001 or 1.0e-3, or text in quotes"
        raise ValueError(f"{where}: the versions of YAML read {node.value} differently; {right}")
    return kind


def typed(value: Any, where: str) -> Any:
    """Read the words in what `--config` gives: of a mapping or a list, Snakemake hands over numbers as text."""
    import yaml

    if isinstance(value, Mapping):
        return {key: typed(one, _join(where, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [typed(one, _join(where, str(index))) for index, one in enumerate(value)]
    if not isinstance(value, str):
        return value
    loader = yaml.SafeLoader("")
    node = yaml.ScalarNode(loader.resolve(yaml.ScalarNode, value, (True, False)), value)
    _check_word(loader, node, f"--config {where}")
    return loader.construct_object(node)


def merge(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Put changes into a config, mappings key by key, and return it."""
    for key, value in changes.items():
        old = config.get(key)
        config[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return config


def with_windows(path: str | Path, windows: Mapping[tuple[str, ...], tuple[str, str]]) -> str:
    """Return the text of a config in which the windows at some places, as ("benchmarks", ..., "64"), are others, and nothing else is.

    A ValueError names what cannot be changed alone: by an alias or a merge key (<<), one window may stand there for several.
    """
    import yaml

    text, places = Path(path).read_bytes().decode("utf-8-sig"), []
    root, wanted = yaml.compose(text.replace("\t", " ")), _unshared(_read(text))  # where JSON may have a tab
    for keys, ends in windows.items():
        node = root
        for key in keys:
            node = next((value for name, value in node.value if name.value == key), None) if node else None
        if not isinstance(node, yaml.SequenceNode) or not node.flow_style:
            raise ValueError(f"{path}: {'.'.join(keys)}: only a window that is written there as [lowest, highest] can be changed")
        written = f"[{', '.join(end if '.' in end else end.replace('e', '.0e') for end in ends)}]"  # 1e-05 is text in YAML
        places.append((node.start_mark.index, node.end_mark.index, written))
        functools.reduce(operator.getitem, keys[:-1], wanted)[keys[-1]] = _read(written)
    for start, end, written in sorted(set(places), reverse=True):
        text = text[:start] + written + text[end:]
    try:
        alone = _read(text) == wanted
    except (ValueError, yaml.YAMLError):  # an anchor was cut out, or two were put into one place
        alone = False
    if not alone:
        raise ValueError(
            f"{path}: a window stands there once for several, by an alias (*) or a merge key (<<); write out the window of each"
        )
    return text


def _unshared(value: Any) -> Any:
    """Copy a document in which what an alias has stands at each of its places by itself."""
    if isinstance(value, dict):
        return {key: _unshared(one) for key, one in value.items()}
    return [_unshared(one) for one in value] if isinstance(value, list) else value
