# Everything starts here: each target makes what it needs, on a fresh machine with nothing but python3 with its venv
# module.
# `make` or `make help` lists the targets.

PYTHON ?= python3
BIN    := .venv/bin
STAMP  := .venv/.installed
DEMO   ?= demo
# Where there is no NVIDIA GPU, the CPU build of torch saves several GB; skipped when this address does not answer.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Two test processes of one thread each: small tensors gain nothing from more.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-model pictures test test-fast check bench features landmarks docs clean browser
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install gramhd into it with the pinned versions
	@echo "Ready: $(BIN)/gramhd --help"

demo: $(STAMP) ## heads of the built-in model within a minute, then the whole method in minutes: see demo/index.html
	$(BIN)/gramhd sample --ckpt demo --seeds 0-24 --view image --out $(DEMO)/built-in
	$(BIN)/gramhd sample --ckpt demo --seeds 0-2 --view multiview3x7 --out $(DEMO)/built-in/multiview
	$(BIN)/gramhd view demo --seeds 0-7 --no-open --out $(DEMO)/heads.html
	$(BIN)/gramhd export-mesh --ckpt demo --seed 0 --out $(DEMO)/head.glb
	$(BIN)/gramhd export-mesh --ckpt demo --seed 0 --out $(DEMO)/head.ply
	$(BIN)/gramhd prep-data --procedural 2000 --size 128 --out $(DEMO)/heads
	$(BIN)/gramhd train-lr --data $(DEMO)/heads --out $(DEMO)/lr16 --preset demo --images 8000
	$(BIN)/gramhd train-lr --data $(DEMO)/heads --out $(DEMO)/lr --preset demo32 --start $(DEMO)/lr16 \
		--images 8000 --set train.cooldown=4000
	$(BIN)/gramhd train-hr --data $(DEMO)/heads --out $(DEMO)/hr --preset demo --lr-ckpt $(DEMO)/lr \
		--images 1200 --set train.cooldown=800
	$(BIN)/gramhd sample --ckpt $(DEMO)/hr --seeds 0-15 --view image --out $(DEMO)/heads-made
	$(BIN)/gramhd sample --ckpt $(DEMO)/hr --seeds 0-2 --view multiview3x7 --out $(DEMO)/multiview
	$(BIN)/gramhd sample --ckpt $(DEMO)/hr --seeds 0-2 --size 256 --view video --out $(DEMO)/video
	$(BIN)/gramhd sample --ckpt $(DEMO)/hr --seeds 0-1 --size 256 --view epi --out $(DEMO)/epi
	$(BIN)/python examples/demo_page.py $(DEMO)

# The recipe of gramhd_core/assets/demo.safetensors: hours on two cores, with resuming; MODEL is where it is made.
MODEL ?= demo-model
demo-model: $(STAMP) ## train the built-in model anew, as it was made (hours; goes on where it was stopped)
	test -f $(MODEL)/heads/dataset.json || $(BIN)/gramhd prep-data --procedural 12000 --size 128 --out $(MODEL)/heads
	test -f $(MODEL)/heads256/dataset.json || $(BIN)/gramhd prep-data --procedural 2000 --size 256 --out $(MODEL)/heads256
	$(BIN)/gramhd train-lr --data $(MODEL)/heads --out $(MODEL)/lr16 --preset demo
	$(BIN)/gramhd train-lr --data $(MODEL)/heads --out $(MODEL)/lr32 --preset demo32 --start $(MODEL)/lr16
	$(BIN)/gramhd train-lr --data $(MODEL)/heads --out $(MODEL)/lr64 --preset demo64 --start $(MODEL)/lr32
	cp "$$($(BIN)/gramhd train-hr --data $(MODEL)/heads256 --out $(MODEL)/hr --preset demo256 --lr-ckpt $(MODEL)/lr64)" \
		gramhd_core/assets/demo.safetensors

pictures: $(STAMP) ## make the pictures of README.md anew with the built-in model
	$(BIN)/python docs/make_pictures.py

test: $(STAMP) browser ## run every test
	$(PYTEST)

test-fast: $(STAMP) ## run the tests that take seconds
	$(PYTEST) -m "not slow"

check: $(STAMP) ## lint, formatting, types, and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q -p no:xdist tests/test_layers.py

# Chromium, for the tests of the HTML page; without it they are skipped and say so.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		{ timeout 120 apt-get update -qq && timeout 300 apt-get install -y -qq --no-install-recommends chromium; } \
			> /dev/null 2>&1; \
	then echo "Chromium is installed."; \
	else echo "No Chromium: tests of the HTML page are skipped (sudo apt-get install chromium brings it)."; fi

bench: $(STAMP) ## time what claims to be fast: one JSON line per benchmark
	@set -e; for script in $(filter-out %/bench_inversion.py,$(wildcard benchmarks/bench_*.py)); do \
		$(BIN)/python $$script; done; \
	$(BIN)/python benchmarks/bench_inversion.py --heads 2; \
	$(BIN)/python benchmarks/bench_first_view.py gramhd1024-ffhq --repeats 1 --variants fp32; \
	$(BIN)/python benchmarks/bench_surfaces.py demo

# With the heads of demo-model (two cores make them in eight minutes): a quarter of an hour on one core.
features: $(STAMP) ## train the small network that `gramhd eval` looks with
	test -f $(MODEL)/heads/dataset.json || $(BIN)/gramhd prep-data --procedural 12000 --size 128 --out $(MODEL)/heads
	$(BIN)/python examples/train_features.py $(MODEL)/heads

# With the same heads: a quarter of an hour on one core.
landmarks: $(STAMP) ## train the small network that finds landmarks of procedural heads
	test -f $(MODEL)/heads/dataset.json || $(BIN)/gramhd prep-data --procedural 12000 --size 128 --out $(MODEL)/heads
	$(BIN)/python examples/train_landmarks.py $(MODEL)/heads

docs: $(STAMP) ## write docs/cli.md from the program's own help
	$(BIN)/python docs/generate_cli.py

clean: ## remove .venv, demo/ and caches
	rm -rf .venv $(DEMO) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment for all targets, made anew only when what it holds has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "gramhd needs Python 3.10 or newer as $(PYTHON): install one, or name another with make PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "Python's venv module is missing: install it (on Debian and Ubuntu: sudo apt install python3-venv)."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@index=; if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi > /dev/null && \
		$(PYTHON) -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=3)' $(TORCH_INDEX)/ 2> /dev/null; \
		then index="--extra-index-url $(TORCH_INDEX)"; fi; \
	set -x; $(BIN)/python -m pip install --quiet --disable-pip-version-check $$index -c constraints.txt -e ".[dev]"
	@touch $@
