#!/bin/sh
# Installs the official servers, clients and the conformance suite into target/test-packages, once.
#
# Called by `cargo xtask test`, by .ci/run and by the integration tests themselves. What is installed is described by
# package-lock.json, requirements.txt and clients/rust; a stamp of the three makes a second call cheap, and a lock makes
# two calls at once safe. Registries are the ones that npm, pip and cargo are set up for: none is named here.
#
# Exit status: 0 when everything is there, 3 when this machine lacks node, npm, python3 or cargo (said on stderr),
# another one when an installation failed.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
into=${CARGO_TARGET_DIR:-"$root/target"}/test-packages
stamp=$into/.installed
lock=$into.lock

cargo=${CARGO:-cargo}
for tool in node npm python3 "$cargo"; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "$tool is not installed" >&2
        exit 3
    fi
done
if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
    echo "python3 has no venv (Debian: apt-get install python3-venv)" >&2
    exit 3
fi

rust=$here/clients/rust
wanted=$(cat "$here/package.json" "$here/package-lock.json" "$here/requirements.txt" "$rust/Cargo.lock" "$rust/src/main.rs" | cksum)
is_ready() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }
is_ready && exit 0

mkdir -p "$into"
# A directory is made by one caller only. The owner's process id inside it tells a lock that was left behind.
waited=0
until mkdir "$lock" 2>/dev/null; do
    owner=$(cat "$lock/owner" 2>/dev/null || echo)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
        rm -rf "$lock"
        continue
    fi
    waited=$((waited + 1))
    if [ "$waited" -gt 600 ]; then
        echo "another installation has held $lock for ten minutes" >&2
        exit 1
    fi
    sleep 1
done
trap 'rm -rf "$lock"' EXIT
trap 'exit 130' INT TERM
echo $$ >"$lock/owner"
is_ready && exit 0
rm -f "$stamp"

echo "installing test packages into $into" >&2
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$into/"
(cd "$into" && npm ci --no-progress --loglevel=error >&2)
[ -x "$into/venv/bin/python" ] || python3 -m venv "$into/venv" >&2
"$into/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
"$cargo" build --quiet --locked --manifest-path "$rust/Cargo.toml" --target-dir "$into/rust" >&2
echo "$wanted" >"$stamp"
