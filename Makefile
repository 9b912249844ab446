# Two commands do all on a fresh Debian machine with Node and Go: `make demo`, then `make test`.
# Every target is quick the second time.
PYRO := bin/pyro
# Where Go's own installer puts it; not every shell knows.
export PATH := $(PATH):/usr/local/go/bin
ENVIRONMENT ?= debian:12
# What the use cases run in.
USE_CASE_ENVIRONMENT ?= debian:12
export USE_CASE_ENVIRONMENT
SMOKE := npx vitest run --project vm --reporter=verbose
USE_CASES := smoke-cold-start-validation smoke-repro-fix-loop smoke-parallel-workspaces smoke-untrusted-inspection smoke-review-eval

.PHONY: help demo setup setup-tests build runtime generate test test-unit test-guest test-registry test-vm environments check check-static check-units smoke-chat-hosts smoke-use-cases $(USE_CASES) smoke-daily-loop smoke-environments bench fuzz dist dist-check dist-reproducible docs docs-check docs-reference smoke-real-repos clean

help:
	@echo "make demo    install what is missing, build, and run one command in a real VM"
	@echo "make test    all tests: units, guest agent, real VMs"
	@echo "make smoke-use-cases   docs/use-cases: the examples, and Claude Code, Codex and OpenCode, offline, driven by a scripted model"
	@echo "make smoke-daily-loop  edit, test, diff, reset: how long each takes, beside its floor"
	@echo "make smoke-real-repos  eight published projects from a messy checkout: install, test, mend, review, export (REAL_REPOS=zlib,idna)"
	@echo "make check   format, lint, types, import rules, unused code, generated code, coverage"
	@echo "make bench   the benchmark: each figure beside its floor (ARGS=--short, ARGS='--cycles 500')"
	@echo "make fuzz    the fuzzers, a minute each"
	@echo "make docs    the documentation as a site, in docs/.vitepress/dist"
	@echo "make dist    the package as it is published, with notices and a bill of materials"
	@echo "make dist-check  packs, installs, does the main job as a user would, uninstalls; some minutes, best as root"

setup:
	@scripts/setup.sh

setup-tests:
	@scripts/setup.sh --for-tests

build: setup
	@node scripts/build.mjs

runtime: setup
	@node runtime/build.mjs

demo: build runtime
	@echo "==> environment $(ENVIRONMENT)" >&2
	@$(PYRO) env pull $(ENVIRONMENT)
	@echo "==> pyro run $(ENVIRONMENT) -- git --version" >&2
	@$(PYRO) run $(ENVIRONMENT) -- git --version
	@echo "==> where it ran" >&2
	@$(PYRO) run $(ENVIRONMENT) -- sh -c 'echo "a virtual machine: Linux $$(uname -r), init $$(cat /proc/1/comm), $$(nproc) cpu"'
	@echo "this host: Linux $$(uname -r), init $$(cat /proc/1/comm), $$(nproc) cpu"
	@$(PYRO) daemon status

test: test-unit test-guest test-registry test-vm

test-unit: setup-tests build
	npx vitest run --project unit

test-guest: setup-tests
	cd guest && go vet ./... && go test ./...

test-registry: setup-tests
	npx vitest run --project registry

environments: build runtime
	@$(PYRO) env pull $(ENVIRONMENT)
	@$(PYRO) env pull debian:12-build
	@$(PYRO) prepare $(ENVIRONMENT)

test-vm: setup-tests environments
	npx vitest run --project vm

smoke-chat-hosts: smoke-environments
	@$(SMOKE) test/vm/chat-hosts.test.ts test/vm/use-cases

smoke-use-cases: smoke-environments
	@$(SMOKE) test/vm/use-cases test/vm/node-project.test.ts

$(USE_CASES): smoke-environments
	@$(SMOKE) test/vm/use-cases/$(@:smoke-%=%).test.ts

smoke-daily-loop: smoke-environments
	@node examples/use-cases/daily-loop.mjs

smoke-environments: setup-tests environments
	@$(PYRO) env pull $(USE_CASE_ENVIRONMENT)

smoke-real-repos: build runtime
	@$(PYRO) env pull debian:12-build
	@npx vitest run --project smoke --reporter=verbose test/smoke/real-repos.test.ts

generate: setup
	npm run generate

check: check-static check-units

check-static: setup-tests build runtime
	npm run check:format
	npm run check:lint
	npm run check:types
	npm run check:imports
	npm run check:unused
	npm run check:licences
	scripts/check-generated.sh
	cd guest && test -z "$$(gofmt -l cmd internal)" && go vet ./...

check-units: setup-tests build runtime
	npx vitest run --project unit --coverage --coverage.thresholds.lines=90

bench: build runtime
	@$(PYRO) env pull $(ENVIRONMENT)
	node bench/run.mjs $(ARGS)

fuzz: setup
	scripts/fuzz.sh

dist: setup
	npm pack

dist-check: setup
	node scripts/dist-check/main.mjs

dist-reproducible: setup
	scripts/check-reproducible.sh

# Its npm packages are its own: the project's lock does not have them.
docs/node_modules/.package-lock.json: docs/package-lock.json docs/package.json
	npm --prefix docs ci --no-fund --no-audit --loglevel=error
	@touch $@

docs: docs/node_modules/.package-lock.json
	npm --prefix docs run --silent build

docs-check: setup-tests docs/node_modules/.package-lock.json
	npx vitest run --project docs

docs-reference: setup
	npx vitest run --project unit test/unit/docs/reference.test.ts --update

clean:
	rm -rf dist coverage runtime/bundle node_modules docs/node_modules docs/.vitepress/dist docs/.vitepress/cache THIRD-PARTY-NOTICES.md sbom.cdx.json pyro-mcp-*.tgz
