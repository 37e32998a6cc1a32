# make demo   sets up .venv and inverts the bundled demo photo into out/demo
# make test   sets up .venv and runs the linter and the tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test clean

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "facsimile needs Python 3.10 or newer; got %d.%d. Say which with: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@

demo: .venv/installed
	$(BIN)/facsimile demo --out out/demo

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest

clean:
	rm -rf .venv build *.egg-info out
