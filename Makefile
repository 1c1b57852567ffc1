# make figures   the default study, end to end           make test        the test suite
# make report    the same and one HTML page about it     make bench       what it costs, as a table
# make check     linters and types                        make reference-check   do the shipped results follow from their runs?
VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)

.PHONY: figures report cluster test test-slow test-anchor test-readme test-workflow test-faults test-slurm test-data reference reference-check check bench bench-cpu bench-gpu gpu bench-sweeps scale calibration power clean

figures: $(VENV)/.ready
	snakemake --cores all figures/all

report: $(VENV)/.ready
	snakemake --cores all figures/all report

# The virtual environment: exact versions, then this package in place. Done once; again when either file changes.
$(VENV)/.ready: envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sgdnoise needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --requirement envs/requirements.lock
	$(BIN)/pip install --no-deps --editable .
	touch $@

test: $(VENV)/.ready
	pytest --numprocesses 2 --dist loadscope

# Whether the intervals of the regimes hold the truth as often as they say; extended grids, with made-up results, what the workflow
# does again and what not; the compiled ghost batch norm; a dry run of the bench for GPUs (three minutes on one idle core).
test-slow: $(VENV)/.ready
	pytest -m slow

# The README's own commands in a fresh clone with a fresh environment (about 15 minutes).
test-readme: $(VENV)/.ready
	pytest -m readme

# The full autoencoder on real MNIST against the paper (about 20 minutes on one core); SGDNOISE_DATA names a data folder.
test-anchor: $(VENV)/.ready
	pytest -m anchor

# Snakemake on small studies: what a change of the config runs again; the README's commands (about 7 minutes).
test-workflow: $(VENV)/.ready
	pytest -m 'workflow and not slow' --numprocesses 2 --dist loadscope

# Late files, wrong clocks, full disks, cells that fail, studies on two machines (about 3 minutes).
test-faults: $(VENV)/.ready
	pytest -m faults --numprocesses 2

# Snakemake's plugins for clusters. Apart, since every start of Snakemake imports them, which takes a second.
cluster: $(VENV)/.cluster
$(VENV)/.cluster: $(VENV)/.ready envs/cluster.lock
	$(BIN)/pip install --requirement envs/cluster.lock
	touch $@

# A real SLURM of one node, from Debian's packages, as root: a study on it, and what clusters do to jobs (about 9 minutes).
test-slurm: $(VENV)/.cluster
	pytest -m slurm --durations=0 tests/slurm

# The paper's benchmarks on real data, and three cells of a shipped study trained again (about 10 minutes); SGDNOISE_DATA names a
# data folder, what is not there is skipped.
test-data: $(VENV)/.ready
	pytest -m data

# Ship a finished study, workflow/config/$(STUDY).yaml, in place of what was shipped of it.
STUDY ?= cpu_mnist
reference: $(VENV)/.ready
	rm -rf "results/reference/$(STUDY)"
	sgdnoise reference --config "workflow/config/$(STUDY).yaml" --out "results/reference/$(STUDY)"

# Derive the tables, figures and verdicts of the shipped studies from their runs, and fail on any difference (half a minute).
reference-check: $(VENV)/.ready
	sgdnoise reference-check results/reference/*

check: $(VENV)/.ready
	ruff check .
	ruff format --check .
	lint-imports --no-cache --no-logo
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy

bench: $(VENV)/.ready
	python performance/bench.py

# The training engines on this CPU against each other and against what else one could do, the parts of a cell's time, and what the
# engines make of the default study (about fifteen minutes).
bench-cpu: $(VENV)/.ready
	python performance/cpu.py
	python performance/parts.py
	python performance/engines.py

# The default study by this workflow, Optuna, Ray Tune and Hydra (13 minutes on two idle cores).
bench-sweeps: $(VENV)-sweeps/.ready
	$(VENV)-sweeps/bin/python performance/sweep_tools.py

# The sweep tools on top of the virtual environment, which stays as it is, in one of their own that sees its packages.
$(VENV)-sweeps/.ready: $(VENV)/.ready envs/sweep_tools.lock
	$(PYTHON) -m venv --clear $(VENV)-sweeps
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$(echo $(VENV)-sweeps/lib/python*/site-packages)/sgdnoise.pth"
	$(VENV)-sweeps/bin/pip install --requirement envs/requirements.lock --requirement envs/sweep_tools.lock
	touch $@

# On one GPU: whether the engine "graph" computes there what the plain loop does, and how fast it is (meant to take ten minutes).
bench-gpu: $(VENV)/.ready
	SGDNOISE_DEVICE=cuda pytest -m 'slow or not slow' tests/training/test_graph.py
	python performance/gpu

# All that waits for a GPU, most valuable first, in calls of ten minutes each of which goes on where the last ended; it needs no
# network, nor this virtual environment where a Python has the packages. `python performance/measure_gpu.py --list` says what is left.
gpu:
	PYTHONPATH=src $(PYTHON) performance/measure_gpu.py --minutes $(MINUTES)
MINUTES ?= 10

# How planning and the tables scale up to 40,000 cells (about five minutes).
scale: $(VENV)/.ready
	python performance/scale.py

# How often intervals, verdicts, regimes and advice are wrong, on studies whose truth is known (hours); whether the full study can
# decide what the paper states (an hour on two idle cores).
calibration: $(VENV)/.ready
	python performance/calibration.py
	python performance/regimes_calibration.py
	python performance/recommend_calibration.py
	python performance/decide_calibration.py
	python performance/foresight_calibration.py
	python performance/steps_calibration.py

power: $(VENV)/.ready
	python performance/power.py --studies 20 --out src/sgdnoise/claims/power.csv

clean:
	rm -rf $(filter-out results/reference,$(wildcard results/*)) figures logs .snakemake
