# What a person runs. Everything is built in debug mode but the measurements.

STEPBACK := target/debug/stepback
DEMO := target/demo

.PHONY: setup build demo test bench lint

# A WebAssembly target for the plugins: rustup's, or Debian's compiler where rustup can't get it.
setup:
	@tests/setup.sh

build: setup
	cargo build --package stepback

demo: build
	@tests/demo.sh $(STEPBACK) $(DEMO)

test: setup
	@tests/parts.sh
	@tests/moto.sh
	cargo test --workspace
	cargo test --workspace --manifest-path plugins/Cargo.toml

bench: setup
	cargo bench --package stepback --bench budgets

lint:
	cargo fmt --all --check
	cargo fmt --all --manifest-path plugins/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
