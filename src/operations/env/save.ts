import * as z from "zod";
import { field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatDuration } from "../text.js";
import { following, workspaceId } from "../workspace/record.js";

const output = z.object({
  workspace_id: z.string(),
  environment: z.string(),
  digest: z.string(),
  size_bytes: z.number(),
  entry_count: z.number(),
  duration_ms: z.number(),
});

/** `pyro env save`, `saveEnvironment`. */
export const envSave = defineOperation({
  name: "env_save",
  command: ["env", "save"],
  summary: "Make an environment of what is installed in a workspace",
  description:
    "The whole disk but /workspace, which is empty in every new workspace. Left out: the machine's identity (host name, " +
    "machine id, SSH host keys), what pyro gave it of this host, shell histories, apt's caches. What runs goes on. Refused " +
    "while a file holds a secret of the workspace.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    name: field.environment().describe("What it is called from now on, such as my-tools:1"),
    overwrite: z.boolean().default(false).describe("Replace the environment of that name"),
    allow_secrets: z.boolean().default(false).describe("Also while a file holds a secret of the workspace"),
  }),
  output,
  positionals: ["workspace_id", "name"],
  idOnly: "environment",
  examples: [
    {
      command: "pyro env save fix-1 my-tools:1",
      says: "then: pyro workspace create my-tools:1 --seed-path .",
    },
  ],
  run: async (
    { workspace_id: id, name, overwrite, allow_secrets: allowSecrets },
    { pyro, signal, onProgress },
  ) =>
    output.parse(
      snakeKeys(
        await pyro.saveEnvironment(
          { workspaceId: id, name, overwrite, allowSecrets, ...following(onProgress) },
          { signal },
        ),
      ),
    ),
  render: ({ environment, size_bytes, entry_count, duration_ms }) =>
    `environment ${environment} is ready: ${entry_count} files, ${formatBytes(size_bytes)} (${formatDuration(duration_ms)})\n` +
    `try it: pyro run ${environment} -- sh`,
});
