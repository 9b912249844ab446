import * as z from "zod";
import { PyroError } from "../../protocol/index.js";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { field } from "../fields.js";
import { defineOperation } from "../operation.js";
import { networkFields, networkOptions, NETWORK_FIELD_NAMES } from "./network-fields.js";
import { following, toWorkspaceView, workspaceRecord, type WorkspaceView } from "./record.js";
import { secretFields, secretSources } from "./secrets.js";
import { CORE_AND_INSPECT } from "./tool-sets.js";

/** `pyro workspace create`, `workspace_create`, `createWorkspace`. */
export const workspaceCreate = defineOperation({
  name: "workspace_create",
  command: ["workspace", "create"],
  summary: "Create a workspace: a virtual machine to work in over many calls",
  description:
    "What it is seeded with becomes its baseline: diff compares with it, reset goes back to it. Without --seed-path it " +
    "is empty. The source on this host is only read.",
  profiles: CORE_AND_INSPECT,
  kind: "write",
  input: z.strictObject({
    environment: field
      .environment()
      .default(DEFAULT_ENVIRONMENT)
      .describe("What the VM runs, from `pyro env list`"),
    seed_path: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe("Directory or archive of this host whose content it begins with"),
    empty: z.boolean().default(false).describe("Begin with nothing, not with the project"),
    name: z.string().min(1).max(64).optional().describe("A name to call it by"),
    labels: z.record(z.string(), z.string()).default({}).describe("A label; repeatable"),
    vcpu_count: field.vcpuCount(),
    mem_mib: field.memMib(),
    ttl_seconds: field
      .seconds()
      .default(600)
      .describe("It is stopped, with its disk kept, after this long without activity"),
    no_pull: z
      .boolean()
      .default(false)
      .describe("Fail when the environment is not on this host, instead of pulling it"),
    ...secretFields,
    ...networkFields,
  }),
  output: workspaceRecord,
  positionals: ["environment"],
  commandLineNames: { labels: "label" },
  notInTool: ["no_pull", "secret", "secret_file", ...NETWORK_FIELD_NAMES],
  notOnCommandLine: ["empty", "secrets"],
  fullOnly: ["secrets"],
  neverShown: ["secrets", "secret", "secret_file"],
  idOnly: "workspace_id",
  examples: [
    { command: "pyro workspace create debian:12 --seed-path ./repo --id-only", says: "prints the id alone" },
    { command: "pyro workspace create debian:12 --name fix-1 --label ticket=42", says: "to be found again" },
    {
      command: "pyro workspace create debian:12 --secret-file API_KEY=./key.txt",
      says: "for `workspace exec --secret-env API_KEY`; shown nowhere",
    },
    {
      command:
        "pyro workspace create debian:12 --network-allow '*.example.org' --network-allow example.com:443",
      says: "these hosts, and nothing else",
    },
  ],
  run: async (given, context) => {
    const { pyro, signal, onProgress, hostPath, defaultSource, waitMs } = context;
    const { seed_path: seedPath } = given;
    if (given.empty && seedPath !== undefined) {
      throw new PyroError("INVALID_ARGUMENT", "empty and seed_path exclude each other", {
        hint: "leave one of them out",
      });
    }
    const source = given.empty ? undefined : defaultSource;
    const record = await pyro.createWorkspace(
      {
        environment: given.environment,
        name: given.name,
        labels: given.labels,
        vcpuCount: given.vcpu_count,
        memMib: given.mem_mib,
        ttlSeconds: given.ttl_seconds,
        noPull: given.no_pull,
        secrets: await secretSources(given, context),
        network: (await networkOptions(given, context)) ?? context.network,
        source: seedPath === undefined ? source : { kind: "path", path: await hostPath(seedPath) },
        waitMs,
        ...following(onProgress),
      },
      { signal },
    );
    return toWorkspaceView(record);
  },
  render: (view) =>
    [
      `workspace ${view.workspace_id} is ready`,
      ...view.warnings.map((warning) => `warning: ${warning}`),
      ...next(view),
    ].join("\n"),
});

function next({ workspace_id: id }: WorkspaceView): string[] {
  return [`next: pyro workspace exec ${id} -- ls -la`];
}
