# The two commands are `make up` and `make test`; everything they need is installed or built on the way, and said.
.DEFAULT_GOAL := help
.PHONY: help up down test bench clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

up: ## Build, start a one-node cluster in the background, run the demo on it
	@scripts/up

down: ## Stop the demo cluster and remove every container, mount, cgroup, namespace, rule and bridge that it made
	@scripts/down

test: ## Install what the tests need, then run all of them (as root)
	@scripts/test

bench: ## Run the benches; they print their figures
	@scripts/bench

clean: ## Remove build output of this checkout
	cargo clean
