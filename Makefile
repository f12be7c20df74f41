# `make demo` and `make test` work on a fresh Debian machine with git, make, python3 and python3-venv. Both may be repeated.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.unimo-installed

# The environment of MediaPipe is one of its own: it needs numpy < 2 and Python 3.9 to 3.12 (docs/extractors.md).
MEDIAPIPE := $(or $(UNIMO_CACHE),$(HOME)/.cache/unimo)/environments/mediapipe

.PHONY: demo test libraries mediapipe clean

demo: $(STAMP) libraries
	@$(BIN)/unimo generate --image assets/examples/synthetic.png --output outputs/demo/generate --overwrite
	@$(BIN)/unimo generate --image assets/examples/person.jpg --output outputs/demo/generate_photograph --overwrite
	@$(BIN)/unimo capture --video assets/examples/clip.mp4 --output outputs/demo/capture --overwrite
	@echo "Results: outputs/demo/{generate,generate_photograph,capture} (open side_by_side.mp4 first)"

test: $(STAMP) libraries
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

libraries:
	@sh tools/system_libraries.sh

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

mediapipe:
	test -x $(MEDIAPIPE)/bin/python || $(PYTHON) -m venv $(MEDIAPIPE)
	$(MEDIAPIPE)/bin/python -m pip install --disable-pip-version-check mediapipe==0.10.21

clean:
	rm -rf .venv outputs
