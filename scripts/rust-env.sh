# shellcheck shell=bash
# Sourced by the other scripts: which Rust to use, and where builds go.

# rustup downloads what rust-toolchain.toml names when a piece of it is missing, and fails where its server cannot be
# reached. Where the compiler itself is there already, go on with what is there: guests.sh has its own way to the targets.
if RUSTUP_AUTO_INSTALL=0 rustc --version >/dev/null 2>&1; then
    export RUSTUP_AUTO_INSTALL=0
elif ! rustc --version >/dev/null; then
    echo "rustc is missing: install Rust from https://rustup.rs" >&2
    exit 1
fi

# Absolute, because cargo takes a relative one from the folder it runs in, and guests have another than the host.
mkdir -p "${CARGO_TARGET_DIR:=target}"
CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
export CARGO_TARGET_DIR
