#!/usr/bin/env bash
# Builds the guest programs from source into ${CARGO_TARGET_DIR:-target}/guests/*.wasm. Fast and quiet when they are up
# to date, and safe to run twice at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/rust-env.sh

# A preview 1 module each; every other guest is a component.
preview1=(cgi fsprobe-p1 hog wordcount)

out=$CARGO_TARGET_DIR/guests
build=$CARGO_TARGET_DIR/guest-build
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9

# The targets that rustup installs are used where they are there; nothing is downloaded for want of them.
for target in wasm32-wasip1 wasm32-wasip2; do
    if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; then
        toolchain=${XDG_CACHE_HOME:-$HOME/.cache}/coracle/wasm-toolchain
        scripts/wasm-toolchain.sh "$toolchain"
        export RUSTC=$toolchain/rustc
        break
    fi
done

# Flags meant for the host (a linker, a sanitizer) would break a guest.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS
cd guest-examples
cargo_build() { cargo build -q --locked --release --target-dir "$build" "$@"; }
cargo_build --target wasm32-wasip2 --workspace "${preview1[@]/#/--exclude=}"
cargo_build --target wasm32-wasip1 "${preview1[@]/#/--package=}"

for manifest in */Cargo.toml; do
    guest=${manifest%/Cargo.toml}
    target=wasm32-wasip2
    [[ " ${preview1[*]} " == *" $guest "* ]] && target=wasm32-wasip1
    built=$build/$target/release/${guest//-/_}.wasm
    [ -e "$built" ] || built=$build/$target/release/$guest.wasm
    cmp -s "$built" "$out/$guest.wasm" && continue
    # Renamed into place: a test that is reading the old one keeps it whole.
    cp "$built" "$out/.$guest.new"
    mv "$out/.$guest.new" "$out/$guest.wasm"
    echo "built $out/$guest.wasm" >&2
done
