import * as z from "zod";
import { field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatDuration } from "../text.js";
import { pullProgress } from "./progress.js";

const output = z.object({
  environment: z.string(),
  reference: z.string().describe("Of the image, with its registry and tag"),
  digest: z.string().describe("Of the image's manifest"),
  size_bytes: z.number().describe("Of its layers, as they are packed"),
  uploaded_bytes: z.number().describe("What of it the registry did not have"),
  same_image: z.boolean().describe("It is the very image that the environment came from"),
  left_out: z.number().describe("Sockets, which no image carries"),
  duration_ms: z.number(),
});

/** `pyro env push`. */
export const envPush = defineOperation({
  name: "env_push",
  command: ["env", "push"],
  summary: "Publish an environment as an image of a registry",
  description:
    "It becomes an ordinary OCI image: podman and docker run it, and `pyro env pull` gives the same files back. Logins are those of `podman login` and `docker login`.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    environment: field.environment().describe("Its name, from `pyro env list`"),
    reference: z.string().min(1).max(512).describe("Where to: REGISTRY/NAME:TAG"),
  }),
  output,
  positionals: ["environment", "reference"],
  examples: [
    {
      command: "pyro env push debian:12 registry.example.org/team/debian:12",
      says: "then `podman run registry.example.org/team/debian:12`",
    },
    { command: "pyro env push mine localhost:5000/mine", says: "without a tag it is `latest`" },
  ],
  run: async ({ environment, reference }, { pyro, signal, onProgress }) => {
    const result = await pyro.pushEnvironment(
      environment,
      reference,
      { onProgress: (progress) => onProgress?.(pullProgress(progress)) },
      { signal },
    );
    return output.parse(snakeKeys(result));
  },
  render: ({ reference, digest, size_bytes, uploaded_bytes, left_out, duration_ms }) => {
    const sent = `${formatBytes(size_bytes)}, ${formatBytes(uploaded_bytes)} of it new there, ${formatDuration(duration_ms)}`;
    const sockets = left_out === 1 ? "1 socket is" : `${left_out} sockets are`;
    const without = left_out === 0 ? "" : `\n${sockets} left out: no image carries them`;
    return `${reference} is pushed (${sent})\n${digest}${without}`;
  },
});
