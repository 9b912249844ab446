import { defineConfig } from "vitest/config";

// Two projects: `unit` needs no VM and takes seconds; `vm` boots real machines, two files at a time: one alone leaves a
// second processor idle half of the time, and more than two make machines slower than their tests wait.
export default defineConfig({
  test: {
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
          name: "vm",
          include: ["test/vm/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 600_000,
          maxWorkers: 2,
        },
      },
    ],
  },
});
