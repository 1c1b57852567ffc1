#!/usr/bin/env bash
# Run by Snakemake in the new environment, from the folder of the Snakefile: install the lock file and this package.
set -euo pipefail
pip install --requirement envs/requirements.lock
pip install --no-deps --editable .
