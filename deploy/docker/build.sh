#!/bin/sh
# Installs TDS into a directory, from the tree it stands in: sh deploy/docker/build.sh DIRECTORY [PYTHON]. Every package
# comes with the hash that deploy/requirements.lock has of it; nothing else is asked of an index.
set -eu
place=$1
python=${2:-python3}
here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)

"$python" -m venv "$place"
"$place/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement "$here/deploy/requirements.lock"
"$place/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation "$here"
"$place/bin/python" -m pip uninstall --quiet --yes setuptools
mkdir -p "$place/share/doc/tds"
cp "$here/README.md" "$here"/docs/*.md "$place/share/doc/tds/"
"$place/bin/tds" --version
