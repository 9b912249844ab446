#!/bin/sh
# Runs each fuzzer for a while: FUZZ_TIME in seconds, 60s by default. First those of the host's network policy, which say how to
# repeat what they find, then those of the guest agent.
set -eu
cd "$(dirname "$0")/.."
duration="${FUZZ_TIME:-60s}"
echo "==> test/unit/network/fuzz.test.ts"
PYRO_FUZZ_SECONDS="${duration%s}" npx vitest run --project unit --reporter=verbose test/unit/network/fuzz.test.ts

cd guest
grep -rho --include='*_test.go' '^func Fuzz[A-Za-z]*' internal | sort | sed 's/^func //' | while read -r name; do
  package=$(dirname "$(grep -rl --include='*_test.go' "^func $name(" internal)")
  echo "==> $name ($package)"
  go test "./$package" -run '^$' -fuzz "^$name\$" -fuzztime "$duration" -fuzzminimizetime 10x
done
