"""A folder with the workflow, for a study of its own."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


def workflow_folder(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """Make a folder in which Snakemake runs the workflow of this checkout, on a config; by default its own."""
    folder.mkdir()
    for name in ("Snakefile", "profiles", "workflow", "src", "envs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "config.yaml").write_text(yaml.safe_dump(config) if config else (ROOT / "config.yaml").read_text())
    return folder
