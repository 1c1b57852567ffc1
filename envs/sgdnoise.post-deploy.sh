#!/usr/bin/env bash
# Run by Snakemake in the new environment, from the folder in which it works: in this repository it installs the lock file and the
# package as it is here, elsewhere the package that was released.
set -euo pipefail
if [ -e envs/requirements.lock ]; then
    pip install --requirement envs/requirements.lock
    pip install --no-deps --editable .
else
    pip install 'sgdnoise[digits,vision]'
fi
