#!/bin/sh
# Install the Redis clients of Node.js that tests/peers/test_node.py needs, beside this file.
# Does nothing when they are already there, in the versions that package.json names.
set -eu

unset CDPATH
cd "$(dirname "$0")"

if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not installed: the tests of Node.js clients will be skipped" >&2
    exit 0
fi

stamp=node_modules/.installed-package.json
if cmp -s package.json "$stamp"; then
    exit 0
fi
npm install --no-package-lock --no-audit --no-fund
cp package.json "$stamp"
