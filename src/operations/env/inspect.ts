import * as z from "zod";
import { environmentDetailsRecord, field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatTable } from "../text.js";

/** `pyro env inspect`. */
export const envInspect = defineOperation({
  name: "env_inspect",
  command: ["env", "inspect"],
  summary: "Show one environment: digest, size, packages",
  description: "",
  profiles: [],
  kind: "read",
  input: z.strictObject({ environment: field.environment().describe("Its name, from `pyro env list`") }),
  output: environmentDetailsRecord,
  positionals: ["environment"],
  examples: [
    { command: "pyro env inspect debian:12 --json", says: "all that is known, with the packages' versions" },
  ],
  run: async ({ environment }, { pyro, signal }) =>
    environmentDetailsRecord.parse(snakeKeys(await pyro.inspectEnvironment(environment, { signal }))),
  render: (environment) =>
    formatTable([
      ["name", environment.name],
      ["description", environment.description],
      ["on this host", environment.installed ? "yes" : `no: run \`pyro env pull ${environment.name}\``],
      ["source", environment.source],
      ["digest", environment.digest ?? "-"],
      ["size", environment.installed ? formatBytes(environment.size_bytes) : "-"],
      ["image", environment.image_path ?? "-"],
      ["made", environment.created_at ?? "-"],
      [
        "packages",
        `${environment.packages.length}${environment.packages.length > 0 ? " (--json lists them)" : ""}`,
      ],
    ]),
});
