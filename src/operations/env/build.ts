import { dirname } from "node:path";
import * as z from "zod";
import { LIMITS } from "../../protocol/index.js";
import type { BuildFile, BuildStep } from "../../sdk/index.js";
import { environmentDetailsRecord, field, snakeKeys } from "../fields.js";
import { defineOperation, type OperationContext } from "../operation.js";
import { formatBytes, formatDuration } from "../text.js";
import { pullProgress } from "./progress.js";

const path = () => z.string().min(1).max(4096);

const output = z.object({
  environment: environmentDetailsRecord,
  reused: z.boolean(),
  step_count: z.number(),
  cached_count: z.number(),
  warnings: z.array(z.string()),
  duration_ms: z.number(),
});

/** `pyro env build`. */
export const envBuild = defineOperation({
  name: "env_build",
  command: ["env", "build"],
  summary: "Build an environment of your own on another one",
  description:
    "Steps come from options (variables, then copies, then commands) or from a file: a recipe (.toml, .json) or a " +
    "Dockerfile with one FROM, RUN, COPY, ENV, WORKDIR, USER, ARG, CMD and ENTRYPOINT. Each step runs in a VM of its own and is kept: " +
    "the next build goes on where something changed.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    name: z.string().min(1).max(255).describe("What it will be called on this host, such as my-tools:1"),
    from: field
      .environment()
      .optional()
      .describe("The environment that it is built on, or an image's reference"),
    run: z
      .array(z.string().min(1).max(LIMITS.argumentBytes))
      .max(LIMITS.buildSteps)
      .optional()
      .describe("A line for /bin/sh, run as the base's user; repeatable"),
    copy: z
      .array(z.string().min(1).max(8192))
      .max(LIMITS.buildSteps)
      .optional()
      .describe("SOURCE:DESTINATION, from the context into the environment; repeatable"),
    env: z
      .record(z.string(), z.string())
      .default({})
      .describe("A variable of all commands, in the environment later too; repeatable"),
    file: path().optional().describe("Recipe or Dockerfile to build of instead; - reads a Dockerfile"),
    args: z.record(z.string(), z.string()).default({}).describe("Value of an ARG of the file; repeatable"),
    context: path().optional().describe("Directory that is copied from (default: the file's, else this one)"),
    network: z.boolean().default(false).describe("Let the commands reach the public internet"),
    timeout_seconds: field.seconds().optional().describe("Longest time of each command (default 1800)"),
    vcpu_count: field.vcpuCount(),
    mem_mib: field.memMib(),
    no_pull: z.boolean().default(false).describe("Fail when what it is built on is not on this host"),
    no_cache: z.boolean().default(false).describe("Do every step anew"),
  }),
  output,
  positionals: ["name"],
  commandLineNames: { args: "arg" },
  examples: [
    {
      command:
        "pyro env build my-tools --from debian:12 --network --run 'apt-get update && apt-get install -y shellcheck'",
      says: "one command on top of debian:12",
    },
    {
      command:
        "pyro env build my-app:1 --from debian:12 --copy src:/app --env MODE=test --run 'make -C /app'",
      says: "files of this directory, and a variable",
    },
    { command: "pyro env build my-app:2 --file Dockerfile --network", says: "a Dockerfile's common subset" },
  ],
  run: async (given, { pyro, signal, onProgress, onOutput, ...context }) => {
    const say = (line: string): void => onOutput?.(Buffer.from(`${line}\n`));
    const result = await pyro.buildEnvironment(
      {
        ...{
          name: given.name,
          from: given.from,
          run: given.run,
          copy: given.copy,
          env: given.env,
          args: given.args,
        },
        file: await readFile(given.file, context),
        contextPath: await context.hostPath(given.context ?? besides(given.file)),
        network: given.network,
        timeoutSeconds: given.timeout_seconds,
        vcpuCount: given.vcpu_count,
        memMib: given.mem_mib,
        noPull: given.no_pull,
        noCache: given.no_cache,
        onStep: (step) => say(lineOf(step)),
        onOutput,
        onProgress: (progress) => onProgress?.(pullProgress(progress)),
      },
      { signal },
    );
    return output.parse(snakeKeys(result));
  },
  render: ({ environment, reused, step_count, cached_count, warnings, duration_ms }) => {
    const size = formatBytes(environment.size_bytes);
    const steps = `${cached_count} of ${step_count} steps were there`;
    const done = reused
      ? `${environment.name} is on this host, built of the same (${size})`
      : `${environment.name} is ready (${size}, ${formatDuration(duration_ms)}; ${steps})`;
    return [...warnings.map((warning) => `note: ${warning}`), done].join("\n");
  },
});

/** Where the file is, its sources are; what comes by standard input is of here. */
function besides(file: string | undefined): string {
  return file === undefined || file === "-" ? "." : dirname(file);
}

async function readFile(
  file: string | undefined,
  { readHostFile }: Pick<OperationContext, "readHostFile">,
): Promise<BuildFile | undefined> {
  if (file === undefined) return undefined;
  return {
    name: file === "-" ? "Dockerfile" : file,
    text: Buffer.from(await readHostFile(file)).toString("utf8"),
  };
}

function lineOf({ number, total, text, state }: BuildStep): string {
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return `[${number}/${total}] ${short}${state === "cached" ? " (kept from before)" : ""}`;
}
