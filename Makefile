# Two commands matter: `make reproduce` and `make test`. Both set up what they need in .venv.
#
#   make reproduce                            every notebook on the generated data, into runs/
#   make reproduce DATA=../dsb2018            the same on the real data (a folder of BBBC038's files)
#   make reproduce ONLY=03,07 NAME=mine       some notebooks, into runs/mine
#   make reproduce PROFILE=full               the long form: trains anew, and uses those weights
#   make reproduce ARGS='--set steps=600'     the short form with a network trained now: minutes
#   make test                                 lint, types, unit tests, notebooks
#   make test-slow                            what takes minutes each
#   make test-browser                         the site, notebooks 1, 13, 14 in a real browser
#   make test-colab                           notebooks 1, 6, 11 as on Colab: Python 3.12, set-up cell
#   make site                                 all pages, linked and searchable, into site/
#   make notebooks                            execute notebooks in place, ready to be committed
#   make stored                               weights and results that notebooks on generated data read
#   make real MINUTES=60                      train and score every method anew, into runs/real: hours
#   make peers MINUTES=84 DATA=dsb2018        StarDist and Cellpose on the same split: hours
#   make gpu MINUTES=9 OUT=runs/gpu/out    all that a GPU is wanted for, in minutes
#   make tables                               tables 1 and 2 from the committed result files
#   make readme                               rewrite the tables of README.md and data/results/README.md

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help env reproduce test test-slow test-browser test-colab lint kernels format site notebooks stored real peers gpu \
  tables readme lock clean

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that starts (a version manager may offer a name that does not).
PYTHON ?= $(firstword $(foreach p,python3.11 python3,$(shell $(p) -c 'print("$(p)")' 2>/dev/null)))

DATA ?= synthetic
PROFILE ?= smoke
NAME ?=
ONLY ?=
SEED ?= 0
# For example: make test ARGS='-k graph'
ARGS ?=

# DGL asks for its backend in a file in the home folder unless this is set.
export DGLBACKEND := pytorch
# Containers often forbid Python to keep what it compiled. A hundred processes of the tests would each
# compile torch's sources anew, for four seconds.
export PYTHONDONTWRITEBYTECODE :=

# The stamp's name holds a checksum of what is installed: same content, no installation.
LOCK := pyproject.toml .ci/constraints.txt
STAMP := $(VENV)/.ngat-$(shell cat $(LOCK) | cksum | cut -d' ' -f1)
SITE_STAMP := $(STAMP)-site
NOTEBOOKS := $(sort $(wildcard notebooks/[0-9][0-9]_*.ipynb))

help:
	@sed -n 's/^#  *make/  make/p' Makefile

env: $(STAMP)

$(STAMP):
	@test -n "$(PYTHON)" || { echo "No python3.11 or python3 found; install Python 3.11." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The locked environment needs Python 3.11 or later (make PYTHON=/path/to/python3.11)." >&2; exit 2; }
	@echo "Installing the pinned packages into $(VENV); this takes minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'
	# Most of 16,000 files are never imported: Python compiles the others when it first loads them.
	$(BIN)/python -m pip install --quiet --no-compile --constraint .ci/constraints.txt \
	  --editable '.[reproduce]'
	@rm -f $(VENV)/.ngat-*
	@touch $@

reproduce: env
	$(BIN)/ngat reproduce --data '$(DATA)' --profile '$(PROFILE)' --seed '$(SEED)' \
	  $(if $(NAME),--name '$(NAME)') $(if $(ONLY),--only '$(ONLY)') $(ARGS)

# One run, one closing line: unit tests, and every committed notebook executed again and its
# marked cells compared with what is committed. Two processes share the files: a notebook's cells, and
# tests with a common fixture, stay together. Notebooks come first, since they are the longest: at
# the end neither process waits for the other. TESTERS=0 runs all in one process, for a debugger.
TESTERS ?= 2
test: env
	$(MAKE) --no-print-directory --jobs=2 lint kernels
	$(BIN)/python -m pytest $(NOTEBOOKS) tests --nbval-lax --nbval-current-env \
	  --nbval-cell-timeout=300 --numprocesses=$(TESTERS) --dist=loadfile --no-loadscope-reorder \
	  --durations=10 $(ARGS)

test-slow: env
	$(BIN)/python -m pytest tests -m slow --timeout=3600 --durations=10 $(ARGS)

test-browser: $(SITE_STAMP)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[browser]'
	.ci/browser $(BIN)
	$(BIN)/python -m pytest tests -m browser --durations=5 $(ARGS)

# In an environment of its own, .venv-colab; pip brings torch there, once.
test-colab: env
	$(BIN)/python .ci/colab.py $(ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Kept beside the sources, for all processes of the tests. A kernel that fails here fails in a test,
# which says more.
kernels: env
	-$(BIN)/python .ci/compile_kernels.py

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The notebooks as they were committed; nothing is executed, and nothing fetched once this is set up.
site: $(SITE_STAMP)
	$(BIN)/python -m sphinx -b html -q -W --keep-going -c .ci/site -d .cache/doctrees . site
	@echo "open: $(CURDIR)/site/index.html"

$(SITE_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[site]'
	@touch $@

notebooks: env
	$(BIN)/python .ci/hygiene.py execute $(if $(ONLY),--only '$(ONLY)') notebooks

# After a change of the network, of training or of the generated pictures: an hour on two cores.
# Stopped, it goes on where it was; remove runs/stored to start anew.
STORED := data/results/synthetic
stored: env
	for loss in balanced bce; do \
	  $(BIN)/ngat train --data synthetic --preset smoke --set kind=$$loss \
	    --out runs/stored/$$loss --resume; \
	  for log in log validation; do \
	    cp runs/stored/$$loss/$$log.csv $(STORED)/training-$$loss.$$log.csv; \
	  done; \
	  cp runs/stored/$$loss/provenance.json $(STORED)/training-$$loss.json; \
	done
	mkdir -p data/weights
	cp runs/stored/balanced/best.safetensors data/weights/synthetic-smoke.safetensors
	$(BIN)/ngat evaluate --data synthetic --data-seed 1 --out $(STORED) \
	  --weights data/weights/synthetic-smoke.safetensors
	for method in untrained otsu otsu_watershed; do \
	  $(BIN)/ngat evaluate --data synthetic --data-seed 1 --out $(STORED) \
	    --method $$method --preset smoke; \
	done
	$(BIN)/ngat ablate --data synthetic --split test --out $(STORED)/ablations.csv

# Every row and curve of the real data, which `ngat data prepare` has made ready: hours. Each network
# trains for MINUTES, at most. Stopped, it goes on where it was; remove runs/real to start anew.
# Everything stays in runs/real: the committed weights and results are of other, longer trainings, and
# are not overwritten. LIMIT=3 is a rehearsal of all commands on a few pictures, in runs/real-3.
LIMIT ?=
FEW := $(LIMIT:%=--limit %)
REAL := runs/real$(LIMIT:%=-%)
REAL_RESULTS := $(REAL)/results
COMMITTED := data/results
MINUTES ?= $(if $(LIMIT),0.1,130)
RIVALS ?= unet fpn
# Of each run without a type of picture; of each seed of a network; steps of each ablation.
STUDY_MINUTES ?= $(if $(LIMIT),0.02,10)
SEED_MINUTES ?= $(if $(LIMIT),0.02,12)
STUDY_STEPS ?= $(if $(LIMIT),2,400)
ERRORS_OF := dsb2018-test-companion-split,dsb2018-test-unet-split,dsb2018-test-otsu_watershed
TRIALS ?= $(if $(LIMIT),2,120)
# Figure 8: a small network, three seeds of each loss.
CURVE := --preset smoke --no-thresholds --set steps=$(if $(LIMIT),2,300) --set low_resolution=0 \
  --set validate_every=50 --set validate_images=12
real: env
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[baselines,classical]'
	for preset in companion paper $(RIVALS); do \
	  $(BIN)/ngat train --data dsb2018 --preset $$preset --minutes $(MINUTES) $(FEW) \
	    --out $(REAL)/$$preset --resume; \
	  $(BIN)/ngat evaluate --data dsb2018 $(FEW) --out $(REAL_RESULTS) \
	    --weights $(REAL)/$$preset/best.safetensors; \
	done
	$(BIN)/ngat robustness --data dsb2018 $(FEW) --weights $(REAL)/companion/best.safetensors \
	  --out $(REAL_RESULTS)/robustness.csv
	$(BIN)/ngat robustness --data dsb2018 $(FEW) --weights $(REAL)/companion/best.safetensors \
	  --panels --out $(REAL_RESULTS)/robustness_panels.csv
	$(BIN)/ngat tune-classical --data dsb2018 --trials $(TRIALS) --pictures $(or $(LIMIT),24) \
	  --out $(REAL_RESULTS)/classical.json
	for method in otsu otsu_watershed classical_one classical_per_type; do \
	  $(BIN)/ngat evaluate --data dsb2018 $(FEW) --out $(REAL_RESULTS) --method $$method \
	    $$(case $$method in (classical*) echo --tuned $(REAL_RESULTS)/classical.json;; esac); \
	done
	$(BIN)/ngat error-types --data dsb2018 $(FEW) --results $(REAL_RESULTS) --runs $(ERRORS_OF) \
	  --out $(REAL_RESULTS)/error_types.csv
	for run in {balanced,bce}-{0,1,2}; do \
	  $(BIN)/ngat train --data dsb2018 $(FEW) $(CURVE) --set kind=$${run%-*} --set seed=$${run#*-} \
	    --out $(REAL)/$$run --resume; \
	  for log in log validation; do \
	    cp $(REAL)/$$run/$$log.csv $(REAL_RESULTS)/training-$$run.$$log.csv; \
	  done; \
	  cp $(REAL)/$$run/provenance.json $(REAL_RESULTS)/training-$$run.json; \
	done
	$(BIN)/ngat leave-out --data dsb2018 $(FEW) --minutes $(STUDY_MINUTES) \
	  --out $(REAL_RESULTS)/leave_out.csv
	$(BIN)/ngat ablate --data dsb2018 $(FEW) --steps $(STUDY_STEPS) --seeds 3 --only base \
	  --out $(REAL_RESULTS)/ablations.csv
	$(BIN)/ngat ablate --data dsb2018 $(FEW) --steps $(STUDY_STEPS) --seeds 1 \
	  --out $(REAL_RESULTS)/ablations.csv
	for preset in companion unet; do \
	  $(BIN)/ngat ablate --data dsb2018 $(FEW) --preset $$preset --only base --seeds 3 \
	    --minutes $(SEED_MINUTES) --out $(REAL_RESULTS)/seeds.csv; \
	done
	$(BIN)/ngat tables --results $(REAL_RESULTS) --out $(REAL)/tables

# StarDist and Cellpose, each in an environment of its own (peers/README.md). Each trains for MINUTES
# of one core. Stopped, it goes on where it was; with more MINUTES, too. LIMIT=12 is a rehearsal on a
# few images, whose results stay in runs/.
PEER ?= stardist cellpose
PEERS := runs/peers/$(DATA)$(LIMIT:%=-%)
PEER_RESULTS ?= $(if $(LIMIT),$(PEERS)/results,$(if $(filter dsb2018,$(DATA)),$(COMMITTED),$(PEERS)/results))
peers: MINUTES := 84
peers: env
	@for peer in $(PEER); do \
	  test -f peers/$$peer.txt || \
	    { echo "There is no peer $$peer; choose PEER=stardist or PEER=cellpose." >&2; exit 2; }; \
	  stamp=.venv-$$peer/.installed-$$(cksum < peers/$$peer.txt | cut -d' ' -f1); \
	  test -e $$stamp || { \
	    echo "Installing $$peer into .venv-$$peer; this takes minutes, once."; \
	    $(PYTHON) -m venv .venv-$$peer; \
	    .venv-$$peer/bin/python -m pip install --quiet --requirement peers/$$peer.txt; \
	    touch $$stamp; }; \
	done
	$(BIN)/ngat peers export --data $(DATA) --out $(PEERS)/pictures $(FEW)
	for peer in $(PEER); do \
	  PYTHONPATH=. .venv-$$peer/bin/python -m peers $$peer --pictures $(PEERS)/pictures \
	    --out $(PEERS)/$$peer --minutes $(MINUTES); \
	  for split in val test; do \
	    out=$(PEER_RESULTS); test $$split = test || out=$(PEER_RESULTS)/validation; \
	    $(BIN)/ngat peers score --data $(DATA) --split $$split --found $(PEERS)/$$peer \
	      --out $$out $(FEW); \
	  done; \
	done

# Needs torch for CUDA, and no network; nothing is installed. Stopped, it goes on where it was.
GPU_PYTHON ?= python3
OUT ?= runs/gpu/out
gpu: MINUTES := 9
gpu:
	PYTHONPATH=. $(GPU_PYTHON) -m ngat gpu --minutes $(MINUTES) --out '$(OUT)' $(ARGS)

tables: env
	$(BIN)/ngat tables --results $(COMMITTED) --out runs/tables

readme: env
	$(BIN)/ngat readme

# After a change of the pins in pyproject.toml: solve them anew and lock the result.
lock:
	.ci/lock $(PYTHON)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
