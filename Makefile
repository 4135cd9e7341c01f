# Every target sets up what it needs: a machine with Python 3.11, pip and make is enough.
PYTHON ?= python3.11
RUN := .venv/bin
RUN_TPU := .venv-tpu/bin
# TensorFlow's TPU build has no XLA for the host, no TPU worker trains on several CPUs or GPUs, and other workers count
# tokens, derive schemas and start trainings. Forecasts, features and source hashes do not depend on TensorFlow's build.
NOT_ON_TPU_WORKERS := --deselect tests/trainer_module/test_training.py::test_the_compiled_dense_part_trains_the_same \
	--deselect tests/trainer_module/test_vocabularies.py::test_training_counts_are_those_of_the_rows \
	$(foreach name,mirrored schema_check schema_derivation export_memory features source_hash,\
	--ignore tests/trainer_module/test_$(name).py)
UNIT_TESTS := tests/trainer_module tests/components tests/pipeline

.PHONY: help setup demo test lint audit format fault-check flink-check tpu-check images-check bench published clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 24

setup: ## Make the environment in .venv (a second call starts at once)
	@$(PYTHON) -m bootstrap

demo: setup ## Fetch MovieLens 100K, train, evaluate and push a rating model
	@$(RUN)/recspan data fetch movielens-100k
	@$(RUN)/recspan pipeline run
	@echo 'Next: .venv/bin/recspan predict --user 42 --item 50'
	@echo '      .venv/bin/recspan pipeline run --set embeddings.dim=64   (only what changed runs again)'

test: lint ## Check style, types, the lock and for secrets, run all tests
	@$(RUN)/pytest

lint: setup
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/pyright
	@$(RUN)/python -m bootstrap.audit
	@$(RUN)/python -m bootstrap.secrets

audit: setup ## Ask OSV for vulnerabilities of the locked packages; needs a network
	@$(RUN)/uv audit --frozen

format: setup ## Format the code
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

fault-check: setup ## Kill runs at random points, damage files, disks and surroundings, and run again; takes an hour
	@$(RUN)/python -m tests.robustness.fault_check

flink-check: setup ## Run the Beam components on a Flink cluster of this machine, kill task managers, compare; needs Java and Maven
	@$(RUN)/python -m tests.flink_check

tpu-check: ## Make the TPU worker's environment, run the trainer's tests in it, lower every model for TPUs
	@$(PYTHON) -m bootstrap tpu_worker
	@TPU_SKIP_MDS_QUERY=1 $(RUN_TPU)/python -m pytest tests/trainer_module tests/tpu_worker $(NOT_ON_TPU_WORKERS)
	@$(RUN_TPU)/python -m tpu_worker.check

images-check: setup ## Make both images' Python environments by the commands of their Dockerfiles, run the unit tests in them
	@$(RUN)/python -m bootstrap.images pipeline .images/pipeline
	@PATH="$$PATH:$(CURDIR)/$(RUN)" PYTHONPATH=.images/pipeline/tools:.images/pipeline/product \
		.images/pipeline/environment/bin/python -m pytest $(UNIT_TESTS)
	@$(RUN)/python -m bootstrap.images tpu_worker .images/tpu_worker
	@PYTHONPATH=.images/tpu_worker/tools:.images/tpu_worker/product TPU_SKIP_MDS_QUERY=1 .images/tpu_worker/environment/bin/python -m pytest \
		tests/trainer_module tests/tpu_worker $(NOT_ON_TPU_WORKERS)

bench: setup ## Measure the way of the data, ingestion, training, checkpoints, export, search and baselines; an hour of a quiet machine
	@$(RUN)/python -m benchmarks.data_path --rows 1000 --rows 1000000
	@$(RUN)/python -m benchmarks.growth
	@$(RUN)/python -m benchmarks.example_gen --rows 1000000
	@$(RUN)/python -m benchmarks.training --rounds 2
	@$(RUN)/python -m benchmarks.step
	@$(RUN)/python -m benchmarks.checkpoints
	@$(RUN)/python -m benchmarks.export --gigabytes 4
	@$(RUN)/python -m benchmarks.retrieval_index --items 100000 --items 1000000
	@$(RUN)/python -m benchmarks.retrieval_baselines
	@$(RUN)/python -m benchmarks.two_stage
	@$(RUN)/python -m benchmarks.sparse_ratings

published: setup ## Run experiments with several seeds and compare with published results; takes hours
	@$(RUN)/recspan data fetch movielens-100k
	@$(RUN)/python -m benchmarks.public_data
	@$(RUN)/python -m benchmarks.published

clean: ## Remove the environments, runs and downloaded data
	rm -rf .venv .venv-tpu .venv-benchmark .images .flink runs data
