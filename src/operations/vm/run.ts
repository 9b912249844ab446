import * as z from "zod";
import { LIMITS } from "../../protocol/index.js";
import type { CommandResult } from "../../sdk/index.js";
import { CURATED_ENVIRONMENTS, DEFAULT_ENVIRONMENT } from "../curated.js";
import { field, isolation, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";

const names = CURATED_ENVIRONMENTS.map(({ name }) => name).join(", ");

const input = z.strictObject({
  environment: field.environment().default(DEFAULT_ENVIRONMENT).describe(`What the VM runs: ${names}`),
  command: field
    .shellLine()
    .describe(
      "Shell line, run by /bin/sh -lc in /workspace. With neither it nor argv: the image's own command",
    ),
  argv: field.argv(),
  vcpu_count: field.vcpuCount(),
  mem_mib: field.memMib(),
  timeout_seconds: field
    .seconds()
    .default(120)
    .describe("The command and all it started are killed after this"),
  ttl_seconds: field
    .seconds()
    .optional()
    .describe("Longest life of the VM (default 600, or what timeout_seconds needs)"),
  network: z.boolean().default(false).describe("Let the VM reach the public internet"),
  env: z
    .record(z.string(), z.string())
    .default({})
    .describe("A variable of the command; repeatable. Nothing is inherited from the host"),
  no_pull: z
    .boolean()
    .default(false)
    .describe("Fail when the environment is not on this host, instead of pulling it"),
  run_id: z
    .string()
    .max(64)
    .optional()
    .describe("Read on a run that still goes on, or page its output; instead of a command"),
  offset: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("With run_id: first byte of output to show"),
  wait_seconds: z
    .int()
    .min(0)
    .max(LIMITS.mcpBlockMs / 1000)
    .default(0)
    .describe("With run_id: wait this long for its end"),
});

/** Fields of a command's result, as section 6 of the contract names them. */
export const commandRecord = z.object({
  environment: z.string(),
  stdout: z.string(),
  stderr: z.string(),
  stdout_truncated: z.boolean(),
  stderr_truncated: z.boolean(),
  stdout_bytes: z.number(),
  stderr_bytes: z.number(),
  exit_code: z.number().nullable(),
  signal: z.string().nullable(),
  timed_out: z.boolean(),
  out_of_memory: z.boolean(),
  duration_ms: z.number(),
  startup_ms: z.number(),
  execution_mode: z.literal("guest"),
  isolation,
  guest_kernel: z.string(),
});

/** `pyro run`, `vm_run`, `runInVm`. */
export const vmRun = defineOperation({
  name: "vm_run",
  command: ["run"],
  summary: "Run one command in one fresh virtual machine",
  description:
    "The words after -- are a program and its arguments, run without a shell in /workspace, or where the image says; without " +
    "them it is what the image itself runs. Output is streamed, standard " +
    "input is passed through, and the VM is gone afterwards. Exit status: the command's own; 124 after a timeout; 125 when " +
    "pyro itself failed; 126 and 127 when the command cannot be run; 130 on Ctrl-C.",
  profiles: ["vm-run", "workspace-full"],
  kind: "write",
  input,
  output: commandRecord,
  positionals: ["environment", "argv"],
  // An image may have a command of its own.
  mayBeLeftOut: ["argv"],
  notOnCommandLine: ["command", "run_id", "offset", "wait_seconds"],
  // Variables are part of `command` for a model; the network is the user's word, given when the server starts.
  notInTool: ["env", "no_pull"],
  withNetwork: ["network"],
  examples: [
    { command: "pyro run debian:12 -- git --version", says: "one command" },
    {
      command: "pyro run debian:12 -- sh -c 'uname -r; cat /proc/1/comm'",
      says: "a shell line: the guest's own kernel and init",
    },
    {
      command: "tar c . | pyro run debian:12-build --timeout-seconds 600 -- sh -c 'tar x && make test'",
      says: "files enter by standard input",
    },
    {
      command: "pyro run debian:12 --env CI=1 --mem-mib 2048 --json -- python3 -c 'print(1)'",
      says: "one JSON document with output and exit code",
    },
  ],
  run: async (given, { pyro, signal, onProgress }) => {
    const result = await pyro.runInVm(
      {
        environment: given.environment,
        command: given.command,
        argv: given.argv,
        env: given.env,
        vcpuCount: given.vcpu_count,
        memMib: given.mem_mib,
        timeoutSeconds: given.timeout_seconds,
        ttlSeconds: given.ttl_seconds,
        network: given.network,
        noPull: given.no_pull,
        onPhase: ({ message, progress }) => onProgress?.({ message, fraction: progress }),
      },
      { signal },
    );
    return toCommandRecord(result);
  },
  render: ({ stdout, stderr }) => `${stdout}${stderr}`,
  exitCode: (record) => commandExitCode(record),
});

/** The SDK's result with the contract's field names. */
export function toCommandRecord(result: CommandResult): z.output<typeof commandRecord> {
  return commandRecord.parse(snakeKeys(result));
}

/** Exit status of `pyro run`: the command's own code, 124 after a timeout, 128 + n for signal n. */
export function commandExitCode(outcome: {
  readonly exit_code: number | null;
  readonly signal: string | null;
  readonly timed_out: boolean;
}): number {
  if (outcome.timed_out) return 124;
  if (outcome.exit_code !== null) return outcome.exit_code;
  return 128 + (SIGNALS[outcome.signal ?? ""] ?? 0);
}

/** Signal numbers of the guest: Linux on x86-64 and arm64, whatever this host is. */
const SIGNALS: Readonly<Record<string, number>> = Object.fromEntries(
  (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG " +
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
  )
    .split(" ")
    .map((name, index) => [`SIG${name}`, index + 1]),
);
