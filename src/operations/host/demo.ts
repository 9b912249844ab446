import { readFile } from "node:fs/promises";
import { release } from "node:os";
import * as z from "zod";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { field, isolation } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatDuration, formatTable } from "../text.js";

const output = z.object({
  environment: z.string(),
  /** False when the environment was on this host before. */
  pulled: z.boolean(),
  command: z.string(),
  output: z.string(),
  exit_code: z.number().nullable(),
  isolation,
  guest_kernel: z.string(),
  host_kernel: z.string(),
  guest_init: z.string(),
  host_init: z.string(),
  startup_ms: z.number(),
  command_ms: z.number(),
  total_ms: z.number(),
});

const COMMAND = "git --version && uname -r && cat /proc/1/comm";

/** `pyro demo`. */
export const demo = defineOperation({
  name: "demo",
  command: ["demo"],
  summary: "Show a real command in a real VM, with real figures",
  description:
    "Pulls the environment where it is missing, runs one command in a fresh VM and shows where it ran.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    environment: field.environment().default(DEFAULT_ENVIRONMENT).describe("What the VM runs"),
    network: z.boolean().default(false).describe("Let the VM reach the public internet"),
  }),
  output,
  positionals: [],
  examples: [{ command: "pyro demo", says: "the same keys on every run, with --json too" }],
  run: async ({ environment, network }, { pyro, signal, onProgress }) => {
    const { environments } = await pyro.listEnvironments({ signal });
    const pulled = environments.some(({ name, installed }) => name === environment && !installed);
    const started = performance.now();
    const result = await pyro.runInVm(
      {
        environment,
        command: COMMAND,
        network,
        onPhase: ({ message, progress }) => onProgress?.({ message, fraction: progress }),
      },
      { signal },
    );
    const [, , guestInit = ""] = result.stdout.split("\n");
    return {
      environment,
      pulled,
      command: COMMAND,
      output: result.stdout,
      exit_code: result.exitCode,
      isolation: result.isolation,
      guest_kernel: result.guestKernel,
      host_kernel: release(),
      guest_init: guestInit,
      host_init: (await readFile("/proc/1/comm", "utf8")).trim(),
      startup_ms: result.startupMs,
      command_ms: result.durationMs,
      total_ms: Math.round(performance.now() - started),
    };
  },
  render: (demo) =>
    formatTable([
      ["$", demo.command],
      ...demo.output
        .trimEnd()
        .split("\n")
        .map((line) => ["", line]),
      ["", ""],
      ["exit code", String(demo.exit_code)],
      ["isolation", demo.isolation === "kvm" ? "KVM" : "software emulation (no usable KVM)"],
      ["kernel", `guest ${demo.guest_kernel}, host ${demo.host_kernel}`],
      ["process 1", `guest ${demo.guest_init}, host ${demo.host_init}`],
      ["VM ready after", formatDuration(demo.startup_ms)],
      ["command took", formatDuration(demo.command_ms)],
      ["all together", formatDuration(demo.total_ms)],
    ]),
  exitCode: ({ exit_code }) => (exit_code === 0 ? 0 : 1),
});
