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
  description:
    "Resumes what was begun, verifies what is there, and makes anew what is damaged. With a file, an environment of this " +
    "name is made of the image in it: an OCI archive, or a directory with an OCI layout.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    environment: field
      .environment()
      .describe("Its name, from `pyro env list`; an image's reference; with --from, what it will be called"),
    from: z.string().min(1).max(4096).optional().describe("OCI archive or layout of this host to make it of"),
    image: z
      .string()
      .min(1)
      .max(512)
      .optional()
      .describe("Which of several images in the file, as it is called there"),
    force: z
      .boolean()
      .default(false)
      .describe("Make it anew even when it is whole, or when another environment has the name"),
  }),
  output,
  positionals: ["environment"],
  examples: [
    { command: "pyro env pull debian:12", says: "about a minute the first time, at once afterwards" },
    {
      command: "pyro env pull tools:1 --from image.tar",
      says: "of what `skopeo copy docker://IMAGE oci-archive:image.tar` made",
    },
  ],
  run: async ({ environment, from, image, force }, { pyro, signal, onProgress, hostPath }) => {
    const result = await pyro.pullEnvironment(
      environment,
      {
        ...{ force, fromPath: from === undefined ? undefined : await hostPath(from), fromImage: image },
        onProgress: (progress) => onProgress?.(pullProgress(progress)),
      },
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
