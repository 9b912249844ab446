#!/bin/sh
# The committed generated code is what the .proto files give: generated anew, compared, and put back as it was.
set -eu
cd "$(dirname "$0")/.."
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -r src/protocol/gen "$before/ts"
cp -r guest/gen "$before/go"
npm run --silent generate
status=0
diff -r "$before/ts" src/protocol/gen >&2 && diff -r "$before/go" guest/gen >&2 || status=1
[ $status = 0 ] || echo "the generated code was not what proto/ gives; it is now: commit it" >&2
exit $status
