import * as z from "zod";
import { environmentDetailsRecord, field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatDuration } from "../text.js";
import { pullProgress } from "./progress.js";

const output = z.object({
  environment: environmentDetailsRecord,
  reused: z.boolean(),
  repaired: z.boolean(),
  duration_ms: z.number(),
});

/** `pyro env pull`. */
export const envPull = defineOperation({
  name: "env_pull",
  command: ["env", "pull"],
  summary: "Make an environment present and whole on this host",
  description: "Resumes what was begun, verifies what is there, and makes anew what is damaged.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    environment: field.environment().describe("Its name, from `pyro env list`"),
    force: z.boolean().default(false).describe("Make it anew even when it is whole"),
  }),
  output,
  positionals: ["environment"],
  examples: [
    { command: "pyro env pull debian:12", says: "about a minute the first time, at once afterwards" },
  ],
  run: async ({ environment, force }, { pyro, signal, onProgress }) => {
    const result = await pyro.pullEnvironment(
      environment,
      { force, onProgress: (progress) => onProgress?.(pullProgress(progress)) },
      { signal },
    );
    return output.parse(snakeKeys(result));
  },
  render: ({ environment, reused, repaired, duration_ms }) => {
    const size = formatBytes(environment.size_bytes);
    if (reused) return `${environment.name} is on this host and whole (${size})`;
    return `${environment.name} ${repaired ? "was damaged and is made anew" : "is ready"} (${size}, ${formatDuration(duration_ms)})`;
  },
});
