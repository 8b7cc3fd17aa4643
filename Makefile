# make run and make test need nothing done before: they install what is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup sample run serve test test-fast test-faults test-requests test-schema test-soak bench bench-ingest bench-serve bench-abuse check
MAKEFLAGS += --no-print-directory

# Where `make run` and `make sample` put the sample and its lake.
DATA ?= data
# More for pytest: make test ARGS="-k bucket"
ARGS ?=
# Of tests that are asked to go on for long; each other one has ten minutes.
ENDLESS := --timeout 0 -o faulthandler_timeout=0

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: ## install what is missing: .venv, Java 17, Delta Lake, JDBC drivers
	@scripts/setup.sh

sample: setup ## write sample events and CSV files (folder: DATA=data)
	@scripts/python.sh -m jobs.sample --out $(DATA)/sample

run: setup ## sample, load it, run the daily job, start the service
	@scripts/run.sh $(DATA)

serve: setup ## start the service on the configured lake
	@exec scripts/python.sh -m serving

test: setup ## all tests, in two processes (ARGS="-n 0": in one)
	@scripts/python.sh -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: setup ## the tests without Spark, services and long waits, on all cores: some two minutes
	@scripts/python.sh -m pytest -n auto -m "not slow and not components and not browser and not faults" $(ARGS)

test-faults: setup ## kills at 100 moments, 20 pairs of runs, 20 orders of arrival: an hour (at most so many: ROUNDS=6)
	@CTR_FAULT_ROUNDS=$(or $(ROUNDS),100) scripts/python.sh -m pytest $(ENDLESS) -m faults $(ARGS)

test-requests: setup ## random requests, each answer compared with a plain one: 2,000 by each way to it (REQUESTS=2000)
	@TEST_REQUESTS=$(or $(REQUESTS),2000) scripts/python.sh -m pytest $(ENDLESS) -s tests/serving/test_any_request.py $(ARGS)

test-schema: setup ## at least 5,000 requests made from the OpenAPI document, allowed and not (CASES=5000)
	@CTR_SCHEMA_CASES=$(or $(CASES),5000) scripts/python.sh -m pytest $(ENDLESS) -s tests/serving/test_schema_fuzz.py $(ARGS)

test-soak: setup ## 32 clients while jobs run on the lake again and again: ten minutes (or so many: MINUTES=1)
	@SOAK_MINUTES=$(or $(MINUTES),10) scripts/python.sh -m pytest $(ENDLESS) -s tests/soak $(ARGS)

# A bound that one of them misses keeps no other from being measured.
bench: ## the three benchmarks, on a machine that does nothing else: an hour, the first time
	@$(MAKE) --keep-going bench-ingest bench-serve bench-abuse

bench-ingest: setup ## measure the ingestion beside its peers, write docs/benchmarks.md (ARGS="--help": its modes)
	@bench/setup.sh
	@scripts/python.sh -m bench.ingest $(ARGS)

bench-serve: setup ## measure the service beside its peers, write docs/benchmarks.md (ARGS="--help": its options)
	@scripts/python.sh -m bench.serve $(ARGS)

bench-abuse: setup ## measure others' times while the service is abused, write docs/benchmarks.md (ARGS="--help": its options)
	@scripts/python.sh -m bench.abuse $(ARGS)

check: setup ## style, types, lock files, container files
	@scripts/check.sh
