# make demo        sets up .venv and inverts the bundled demo photo into out/demo
# make test        sets up .venv and runs the linter, the type checker, the tests and the docs' build
# make test-fast   the same without the slow tests and the docs: under a minute
# make test-all    the same with the exhaustive tests: what make test shows once, for every kind
# make docs        builds the documentation into build/site; warnings are errors
# make wheel-test  installs the wheel alone beside packages with the rooms' names, and uses it there
PYTHON ?= python3
BIN := .venv/bin
ROOMS := checkpoints data editing encoders metrics refine stylegan training
# The networks of the tests are tiny: threads cost more than they bring.
# What make test-fast leaves out beside the tests that are marked slow: many short ones.
NOT_FAST := tests/benchmarks tests/data/test_align.py tests/encoders/test_corrector.py \
	tests/encoders/test_editor.py tests/facsimile/test_identity.py tests/facsimile/test_jobs.py \
	tests/facsimile/test_reenact.py tests/metrics/test_backbones.py \
	tests/metrics/test_dlib_identity.py tests/metrics/test_facenet.py \
	tests/refine/test_every_generator.py tests/stylegan/test_alias_free.py \
	tests/stylegan/test_foreign.py tests/stylegan/test_stylegan3.py
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

.PHONY: demo test test-all test-fast lint types docs wheel-test clean build/tree

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "facsimile needs Python 3.10 or newer; got %d.%d. Say which with: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[test,docs,video,landmarks]"
	touch $@

demo: .venv/installed
	$(BIN)/facsimile demo --out out/demo

test: lint types docs
	$(PYTEST)

test-all: lint types docs
	$(PYTEST) -m "not wheel"

test-fast: lint types
	$(PYTEST) -m "not slow and not wheel and not exhaustive" $(addprefix --ignore=,$(NOT_FAST))

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed build/tree
	$(BIN)/mypy

docs: .venv/installed build/tree
	$(BIN)/mkdocs build --quiet --strict

wheel-test: .venv/installed
	$(BIN)/pytest tests/test_wheel.py -m wheel

# The package as a wheel holds it, by links: what reads sources does not follow package-dir.
build/tree:
	rm -rf $@ && mkdir -p $@/facsimile
	ln -s $(CURDIR)/facsimile/* $(addprefix $(CURDIR)/,$(ROOMS)) $@/facsimile/

clean:
	rm -rf .venv build *.egg-info out
