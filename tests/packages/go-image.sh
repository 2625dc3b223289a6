#!/bin/sh
# Makes the image in which tests build Go modules, once, and prints its name: the base image, the Go of this machine, and a
# module proxy of files with one module in it, so that nothing is fetched.
#
# Exit status: 0 when it is there, 3 when this machine lacks something (said on stderr).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
for tool in go python3; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "$tool is not installed" >&2
        exit 3
    fi
done
base=$(sh "$here/base-image.sh") || exit $?
goroot=$(go env GOROOT)
name=fairlead-test-go:$( { cat "$0" "$here/go-server/"*; echo "$base"; go version; } | cksum | cut -d' ' -f1)
if docker image inspect "$name" >/dev/null 2>&1; then
    echo "$name"
    exit 0
fi
into=$(mktemp -d)
trap 'rm -rf "$into"' EXIT
echo "making $name" >&2
module=example.test/answer
version=v1.2.3
at="$into/proxy/$module/@v"
mkdir -p "$at"
echo "$version" >"$at/list"
printf '{"Version":"%s","Time":"2026-01-01T00:00:00Z"}' "$version" | tee "$at/$version.info" >"$into/proxy/$module/@latest"
cp "$here/go-server/go.mod" "$at/$version.mod"
python3 - "$here/go-server" "$at/$version.zip" "$module@$version" <<'PYTHON'
import pathlib, sys, zipfile
source, target, prefix = sys.argv[1:]
with zipfile.ZipFile(target, "w") as archive:
    for file in sorted(pathlib.Path(source).iterdir()):
        archive.write(file, f"{prefix}/{file.name}")
PYTHON
# Only what `go install` needs: tests and documents of Go itself are a third of it.
mkdir "$into/go"
(cd "$goroot" && tar -ch --exclude=./test --exclude=./doc --exclude=./api --exclude='*_test.go' --exclude='testdata' .) | tar -x -C "$into/go"
cat >"$into/Dockerfile" <<DOCKERFILE
FROM $base
COPY go /usr/local/go
COPY proxy /opt/goproxy
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOSUMDB=off GOTOOLCHAIN=local
DOCKERFILE
docker build --quiet --tag "$name" "$into" >&2
echo "$name"
