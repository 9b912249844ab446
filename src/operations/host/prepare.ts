import * as z from "zod";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { pullProgress } from "../env/progress.js";
import { field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatDuration, formatTable } from "../text.js";

const output = z.object({
  environment: z.string(),
  /** Nothing had to be made. */
  reused: z.boolean(),
  steps: z.array(z.object({ name: z.string(), what: z.enum(["reused", "made"]), duration_ms: z.number() })),
  duration_ms: z.number(),
});

/** `pyro prepare`. */
export const prepare = defineOperation({
  name: "prepare",
  command: ["prepare"],
  summary: "Warm this host once, so that the first VM starts as quickly as the tenth",
  description:
    "Starts the daemon, pulls the environment where it is missing, and makes the memory template that machines of the " +
    "default size (1 CPU, 1024 MiB) start from, whatever their environment. Without this the first run does the same by " +
    "the way. What is there already is proven and kept.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    environment: field
      .environment()
      .default(DEFAULT_ENVIRONMENT)
      .describe("What to make ready, from `pyro env list`"),
    network: z
      .boolean()
      .default(false)
      .describe("Prepare for VMs that reach the internet (refused: not in this version)"),
    force: z.boolean().default(false).describe("Make the memory template anew even when a good one stands"),
  }),
  output,
  positionals: ["environment"],
  examples: [
    { command: "pyro prepare", says: "for debian:12: a minute or two the first time, at once afterwards" },
    {
      command: "pyro prepare debian:12-build --json",
      says: "what was made and what was there, with durations",
    },
    { command: "pyro prepare --force", says: "a new memory template, in place of one that you do not trust" },
  ],
  run: async ({ environment, network, force }, { pyro, signal, onProgress }) => {
    const result = await pyro.prepare(
      { environment, network, force, onProgress: (progress) => onProgress?.(pullProgress(progress)) },
      { signal },
    );
    return output.parse(snakeKeys(result));
  },
  render: ({ environment, reused, steps, duration_ms }) =>
    [
      formatTable(steps.map(({ name, what, duration_ms: ms }) => [name, what, formatDuration(ms)])),
      reused
        ? `${environment} was ready already`
        : `${environment} is ready (${formatDuration(duration_ms)})`,
    ].join("\n"),
});
