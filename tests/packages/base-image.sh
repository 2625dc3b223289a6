#!/bin/sh
# Makes the base image for servers that tests build of packages, once, and prints its name.
#
# No image is pulled: Debian comes by debootstrap, node from the packages that prepare.sh has installed, npm from this
# machine. The name has a sum of all that decides what is in it, so a second call finds it on the engine.
#
# Exit status: 0 when it is there, 3 when this machine lacks something (said on stderr).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
packages=${CARGO_TARGET_DIR:-"$root/target"}/test-packages
suite=bookworm
debian="python3,python3-venv,ca-certificates,git"

for tool in docker debootstrap npm node; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "$tool is not installed" >&2
        exit 3
    fi
done
if [ "$(id -u)" != 0 ]; then
    echo "debootstrap needs root" >&2
    exit 3
fi
node=$(readlink -f "$packages/node_modules/.bin/node" 2>/dev/null || command -v node)
npm=$(npm root --global 2>/dev/null)/npm
[ -d "$npm" ] || { echo "npm is not where it says" >&2; exit 3; }

name=fairlead-test-base:$( { cat "$0"; "$node" --version; npm --version 2>/dev/null; } | cksum | cut -d' ' -f1)
if docker image inspect "$name" >/dev/null 2>&1; then
    echo "$name"
    exit 0
fi
into=$(mktemp -d)
trap 'rm -rf "$into"' EXIT
mirror=$(sed -n 's/^URIs: \(.*\)/\1/p; s/^deb \(http[^ ]*\) .*/\1/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    head -n 1)
echo "making $name" >&2
debootstrap --variant=minbase --include="$debian" "$suite" "$into" $mirror >&2
cp "$node" "$into/usr/local/bin/node"
mkdir -p "$into/usr/local/lib/node_modules"
cp -R "$npm" "$into/usr/local/lib/node_modules/"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$into/usr/local/bin/npm"
rm -rf "$into"/var/cache/apt/* "$into"/var/lib/apt/lists/* "$into"/usr/share/doc "$into"/usr/share/man
tar -C "$into" -c . | docker import - "$name" >/dev/null
echo "$name"
