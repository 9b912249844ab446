#!/bin/sh
# Runs each fuzzer of the guest agent for a while: FUZZ_TIME, a minute by default.
set -eu
cd "$(dirname "$0")/../guest"
grep -rho --include='*_test.go' '^func Fuzz[A-Za-z]*' internal | sort | sed 's/^func //' | while read -r name; do
  package=$(dirname "$(grep -rl --include='*_test.go' "^func $name(" internal)")
  echo "==> $name ($package)"
  go test "./$package" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZ_TIME:-60s}" -fuzzminimizetime 10x
done
