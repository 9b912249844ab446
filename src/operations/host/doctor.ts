import * as z from "zod";
import { PyroError } from "../../protocol/index.js";
import type { DoctorCheck } from "../../sdk/index.js";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { field, readiness, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { egressSelftest } from "./egress-selftest.js";

const check = z.object({
  name: z.string(),
  ok: z.boolean(),
  message: z.string(),
  hint: z.string(),
  fix: z.array(z.string()),
});

const output = z.object({
  ok: z.boolean(),
  platform: z.string(),
  accelerators: z.array(
    z.object({
      name: z.string(),
      usable: z.boolean(),
      reason: z.string(),
      boot_ms: z.number().nullable(),
      chosen: z.boolean(),
    }),
  ),
  kvm: z.object({ usable: z.boolean(), reason: z.string() }),
  runtime: z.object({ version: z.string(), qemu_version: z.string() }),
  disk: z.object({ free_bytes: z.number() }),
  memory: z.object({ available_bytes: z.number() }),
  environment: z.object({ name: z.string(), readiness }),
  /** What workspaces begin with that a server started here makes, and its state; the command line fills it in. */
  project_source: z.string().nullable(),
  checks: z.array(check),
});

export type DoctorRecord = z.output<typeof output>;

/** `pyro doctor`. */
export const doctor = defineOperation({
  name: "doctor",
  command: ["doctor"],
  summary: "Prove that this host can run virtual machines, and name each fix",
  description:
    "Boots a probe VM on each accelerator and says which one really works, and why not the other. Exit status 1 when " +
    "something needs mending.",
  profiles: [],
  kind: "read",
  input: z.strictObject({
    environment: field.environment().optional().describe("The environment to look at (default debian:12)"),
    fix: z
      .boolean()
      .default(false)
      .describe("Show each command that mends something, ask, run it, and prove it again"),
    yes: z.boolean().default(false).describe("With --fix: do not ask"),
    egress_selftest: z
      .boolean()
      .default(false)
      .describe("Also start a VM with egress, and prove that it is kept from this host and its networks"),
  }),
  output,
  positionals: [],
  examples: [
    { command: "pyro doctor", says: "one line per check, with the fix of what fails" },
    { command: "pyro doctor --fix --yes", says: "mends what can be mended by a command" },
    {
      command: "pyro doctor --egress-selftest",
      says: "what a VM with a network is kept from, tried from inside one",
    },
  ],
  run: async ({ environment, egress_selftest: isEgressTested }, { pyro, signal, onProgress }) => {
    const onCheck = ({ name, ok, message }: DoctorCheck): void =>
      onProgress?.({ message: `${name}: ${ok ? "" : "FAILED: "}${message}`, fraction: null });
    try {
      const report = await pyro.doctor({ environment, onCheck }, { signal });
      const egress = isEgressTested
        ? await egressSelftest(pyro, environment ?? DEFAULT_ENVIRONMENT, signal, onCheck)
        : [];
      const checks = [...report.checks, ...egress];
      const ok = report.ok && egress.every((check) => check.ok);
      return output.parse({ ...(snakeKeys(report) as object), checks, ok, project_source: null });
    } catch (error) {
      return withoutDaemon(PyroError.from(error), environment);
    }
  },
  render: (report) =>
    [
      ...report.checks.map(renderCheck),
      ...(report.project_source === null ? [] : [`      project source: ${report.project_source}`]),
      report.ok
        ? "everything is in order"
        : "something needs mending; `pyro doctor --fix` runs the fixes that are commands",
    ].join("\n"),
  exitCode: ({ ok }) => (ok ? 0 : 1),
});

/** A host whose daemon does not even start is what a doctor is for: the reason becomes the failed check. */
function withoutDaemon(error: PyroError, environment = "debian:12"): DoctorRecord {
  if (error.code === "CANCELLED" || error.code === "DEADLINE_EXCEEDED") throw error;
  const unknown = { usable: false, reason: "the daemon does not answer" };
  return {
    ok: false,
    platform: `${process.platform}-${process.arch}`,
    accelerators: [],
    kvm: unknown,
    runtime: { version: "", qemu_version: "" },
    disk: { free_bytes: 0 },
    memory: { available_bytes: 0 },
    environment: { name: environment, readiness: "cold" },
    project_source: null,
    checks: [
      { name: "daemon", ok: false, message: `${error.code}: ${error.message}`, hint: error.hint, fix: [] },
    ],
  };
}

function renderCheck({ name, ok, message, hint }: z.output<typeof check>): string {
  const line = `${ok ? "ok  " : "FAIL"}  ${name}: ${message}`;
  return hint === "" ? line : `${line}\n      hint: ${hint}`;
}
