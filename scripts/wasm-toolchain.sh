#!/usr/bin/env bash
# Makes a Rust compiler with std for wasm32-wasip1 and wasm32-wasip2 where rustup's targets are not installed.
# Takes Debian packages and one npm package, about two minutes and 600 MB; done once.
#
# usage: scripts/wasm-toolchain.sh [DIR]
#        RUSTC=DIR/rustc cargo build --release --target wasm32-wasip2
#
# Its wasm32-wasip2 has preview 1's libc below std: std::net is missing there, guests use wstd::net.
set -euo pipefail

dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle/wasm-toolchain}
clang=@yowasp/clang@22.0.0-git20542-10 # for its wasi-libc: Debian's of 2022 breaks std::fs on wasip2
targets="wasm32-wasip1 wasm32-wasip2"

mkdir -p "$(dirname "$dir")"
dir=$(cd "$(dirname "$dir")" && pwd)/$(basename "$dir")
exec 8>"$dir.lock"
flock 8
[ -e "$dir/.done" ] && exit 0

need() {
    command -v "$1" >/dev/null && return
    echo "wasm-toolchain: $1 is missing. $2" >&2
    exit 1
}
hint="Where rustup can download, this does without it: rustup target add $targets"
need apt-get "$hint"
need npm "$hint (or: apt-get install npm)"
need cargo "Install Rust from https://rustup.rs"

echo "wasm-toolchain: making a compiler for $targets in $dir (once, about two minutes)" >&2
# Made beside and moved into place at the end, so that what is there is whole.
new=$dir.new
rm -rf "$new" "$dir"
mkdir -p "$new/debs"

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq || echo "wasm-toolchain: apt-get update failed; going on with the lists that are there" >&2
# Debian's newest Rust, which it backports for browsers, and the LLVM that it was built with.
version=$(apt-cache policy rustc-web | sed -n 's/ *Candidate: \([0-9]*\.[0-9]*\)\..*/\1/p')
if [ -z "$version" ]; then
    echo "wasm-toolchain: this Debian has no rustc-web. $hint" >&2
    exit 1
fi
llvm=$(apt-cache depends "libstd-rust-web-$version" | sed -n 's/.*Depends: libllvm\([0-9]*\).*/\1/p' | head -1)
(
    cd "$new/debs"
    apt-get download -qq -o APT::Sandbox::User=root rustc-web libstd-rust-web-dev "libstd-rust-web-$version" \
        rust-web-src rust-web-llvm "libllvm$llvm" "lld-$llvm"
    npm pack --silent "$clang" >/dev/null
    tar xzOf yowasp-clang-*.tgz package/gen/llvm-resources.tar | tar x lib/wasm32-wasip1
)
for deb in "$new"/debs/*.deb; do dpkg -x "$deb" "$new"; done

rustlib=$new/usr/lib/rustlib
for target in $targets; do
    mkdir -p "$rustlib/$target/lib/self-contained"
    cp "$new"/debs/lib/wasm32-wasip1/{libc.a,crt1-command.o,crt1-reactor.o} "$rustlib/$target/lib/self-contained/"
done

# Finds its own folder, so that the whole may be moved.
cat > "$new/rustc" <<W
#!/bin/sh
here=\$(cd "\$(dirname "\$0")" && pwd)
for lib in "\$here"/usr/lib/*-linux-gnu*; do LD_LIBRARY_PATH="\$lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"; done
export LD_LIBRARY_PATH PATH="\$here/usr/lib/llvm-$llvm/bin:\$here/usr/bin:\$PATH"
exec "\$here/usr/bin/rustc" "\$@"
W
chmod +x "$new/rustc"

# std, from the same version's source. The crate only gives cargo something to build std for.
mkdir -p "$new/std/src"
: > "$new/std/src/lib.rs"
printf '[package]\nname = "std-only"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' > "$new/std/Cargo.toml"
for target in $targets; do
    (
        cd "$new/std"
        unset CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS RUSTC_WRAPPER
        RUSTC="$new/rustc" RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR="$new/std/target" \
            cargo build -q --release -Zbuild-std=std,panic_abort --target "$target"
    )
    cp "$new/std/target/$target"/release/deps/lib*.rlib "$rustlib/$target/lib/"
    rm -f "$rustlib/$target/lib"/libstd_only-*.rlib
done

rm -rf "$new/debs" "$new/std" "${new:?}"/usr/{src,share} "$rustlib/src"
"$new/rustc" --version > "$new/.done"
mv "$new" "$dir"
