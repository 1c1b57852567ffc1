"""The command that makes what is missing. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")  # where Snakemake looks for its workflow


def command(target: str | Path = "", cores: str = "1", force: bool = False) -> str:
    """Return the command that makes a file, or all of a study; a bare `snakemake` works only where the workflow is."""
    targets, options = [quote(str(target))] * bool(target), ["--force"] * force
    if any(Path(name).exists() for name in SNAKEFILES):
        return " ".join(["snakemake --cores", cores, *options, *targets])
    return " ".join(["sgdnoise run CONFIG", *["--"] * bool(target), *targets, *options])
