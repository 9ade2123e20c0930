# Every target but help and clean begins with an environment in .venv, made on first use.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON := .venv/bin/python
BENCH := bin/bench --gin_config=configs/bench/nuts.gin
ifneq ($(NUM_ROWS),)
# A quick look: one short round.  A smaller problem is another one, so its records and
# table go to a folder of their own.
BENCH += --gin_param=datasets.load_covertype.num_rows=$(NUM_ROWS)
BENCH += --gin_param='bench.compare_samplers.out="runs/bench-nuts-$(NUM_ROWS)"'
BENCH += --gin_param=bench.compare_samplers.num_rounds=1
BENCH += --gin_param=bench.compare_samplers.min_seconds=0.5
endif
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.PHONY: help setup peers test test-slow test-mutations lint bench-nuts bench-posteriors bench-eager bench-scaling
.PHONY: bench-step bench-vi bench-readers bench-device
.PHONY: bench-image-transformer bench-vae programs reference check-large check-audio report configs clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-23s %s\n", $$1, $$2}' Makefile

setup: .venv/.complete  ## the environment in .venv, from requirements.lock

peers: .venv/.peers  ## NumPyro, nutpie, BlackJAX and Flax too: more rows in the tables

test: setup  ## every test but the slow ones
	$(PYTHON) -m pytest -q -n 2 -m "not slow"

test-slow: setup  ## those that run a whole benchmark or train for long
	$(PYTHON) -m pytest -q -n 2 -m slow

test-mutations: setup  ## plants bugs in copies of the code, each of which a test must catch
	$(PYTHON) -m tests.mutations

lint: setup  ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench-nuts: setup  ## Stan, PyMC, TensorFlow and ours on covertype; NUM_ROWS=20000 for less
	$(BENCH)

bench-posteriors: setup  ## NUTS with warm-up on posteriors: ours, Stan, PyMC, peers
	bin/bench --gin_config=configs/bench/posteriors.gin

bench-eager: setup  ## what one random variable costs in eager mode, beside plain TFP
	$(PYTHON) -m experiments.bench.eager_cost

bench-device: setup  ## the exported sampler on a GPU or the CPU, beside JAX (make peers)
	bin/bench --gin_config=configs/bench/device.gin

bench-vi: setup  ## steps a second of variational inference: ours, NumPyro, PyMC
	$(PYTHON) -m experiments.bench.vi_steps

bench-scaling: setup  ## training on more cores, devices and processes; projected to 512
	bin/bench --gin_config=configs/bench/scaling.gin

bench-image-transformer: setup  ## its step beside TensorFlow by hand, Keras, Flax; sampling
	bin/bench --gin_config=configs/bench/image_transformer.gin

bench-vae: setup  ## the autoencoders' steps beside TensorFlow by hand, Flax; 17 devices
	bin/bench --gin_config=configs/bench/vae.gin

programs: setup  ## every program of the paper, and whether its claims hold
	bin/bench --gin_config=configs/bench/programs.gin

bench-step: setup  ## what runtime and loop add to a training step written by hand
	$(PYTHON) -m experiments.bench.step_cost

bench-readers: setup  ## files read a second: ours, tf.data, Pillow; waiting of trainings
	$(PYTHON) -m experiments.bench.readers

reference: setup  ## posteriors and log densities by long runs of Stan, for bench-posteriors
	$(PYTHON) -m experiments.bench.posterior_references

check-large: setup  ## a model of 100 million parameters sharded over eight logical devices
	$(PYTHON) -m tests.experiments.engines.hundred_million

check-audio: setup  ## the audio VAE with 100 million weights here, and traced for 512 cores
	$(PYTHON) -m tests.experiments.audio_vae.large_audio

report: setup  ## every table and plot again, from the committed records
	bin/report

configs: setup  ## docs/configs.md again, from the heads of the configs
	@bin/train --list --markdown >.configs.md
	@mv .configs.md docs/configs.md

clean:  ## remove the tools' caches; .venv, runs and results stay
	rm -rf build .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted set-up is repeated.
.venv/.complete: requirements.lock .python-version
	bin/setup requirements.lock
	touch $@

.venv/.peers: requirements-peers.lock .venv/.complete
	bin/setup requirements-peers.lock
	touch $@
