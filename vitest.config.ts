import { defineConfig } from "vitest/config";

// Four projects: `unit` needs no VM and takes seconds; `vm` boots real machines, two files at a time: one alone leaves a
// second processor idle half of the time, and more than two make machines slower than their tests wait. `registry` pulls
// from Debian's docker-registry, with images of umoci and skopeo, without a machine. `smoke` takes longer than anybody waits for
// tests: `make smoke-real-repos`.
export default defineConfig({
  test: {
    // What is waited for comes when a busy host lets it.
    expect: { poll: { timeout: 10_000 } },
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      exclude: ["src/protocol/gen/**"],
      reporter: ["text-summary", "json-summary", "lcovonly"],
    },
    projects: [
      { extends: true, test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 20_000 } },
      {
        extends: true,
        test: {
          name: "registry",
          include: ["test/registry/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      // The site of docs/, in a browser: `make docs-check` installs what makes it.
      { extends: true, test: { name: "docs", include: ["test/docs/**/*.test.ts"], testTimeout: 60_000 } },
      {
        extends: true,
        test: {
          name: "vm",
          include: ["test/vm/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 600_000,
          maxWorkers: 2,
        },
      },
      {
        extends: true,
        test: {
          name: "smoke",
          include: ["test/smoke/**/*.test.ts"],
          testTimeout: 900_000,
          hookTimeout: 900_000,
          maxWorkers: 1,
        },
      },
    ],
  },
});
