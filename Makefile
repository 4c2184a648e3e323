# What a person runs: `make test`, later `make demo` and `make bench`.

.PHONY: test
test:
	cargo test --workspace
