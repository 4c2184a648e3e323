# What a person runs. Everything is built in debug mode but the measurements.

PREFIX ?= $(HOME)/.cargo

.PHONY: setup build demo install test soak bench lint

# A WebAssembly target for the plugins: rustup's, or Debian's compiler where rustup can't get it.
setup:
	@tests/setup.sh

build: setup
	cargo build --package stepback

# Without the providers of real environments, which nobody needs for it; in a place of its own.
demo: setup
	@tests/demo.sh target/demo/stepback target/demo-state

# The whole program, optimised, with its manual pages and completions.
install: setup
	@tests/install.sh $(PREFIX)

test: setup
	@tests/parts.sh
	@tests/moto.sh
	@tests/all.sh

# Random operations under faults, kills, cancels and clocks, ten times as many as in `make test` and
# from another seed each time; a failure prints the seed. Then a rehearsal of every shipped operation,
# and deploys under load: killed before and after every call, and wrong in each way there is. It takes
# hours.
soak: setup
	STEPBACK_SEED=$$(date +%s) STEPBACK_CASES=10000 \
		cargo test --workspace --test rules --no-fail-fast -- --nocapture random
	STEPBACK_REHEARSE=all cargo test --workspace --test rehearse -- --nocapture shipped
	STEPBACK_DEPLOYS=all cargo test --workspace --test real -- --nocapture deploys::

bench: setup
	@tests/parts.sh
	cargo bench --package stepback --bench budgets --bench downtime

lint: setup
	cargo fmt --all --check
	cargo fmt --all --manifest-path plugins/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --manifest-path plugins/Cargo.toml --workspace --all-targets -- -D warnings
