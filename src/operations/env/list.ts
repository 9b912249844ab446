import * as z from "zod";
import { environmentRecord, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatTable } from "../text.js";

const output = z.object({ catalog_version: z.string(), environments: z.array(environmentRecord) });

/** `pyro env list`. */
export const envList = defineOperation({
  name: "env_list",
  command: ["env", "list"],
  summary: "List the environments, and which of them are on this host",
  description: "",
  profiles: [],
  kind: "read",
  input: z.strictObject({}),
  output,
  positionals: [],
  examples: [{ command: "pyro env list", says: "names, sizes and what they hold" }],
  run: async (_, { pyro, signal }) => output.parse(snakeKeys(await pyro.listEnvironments({ signal }))),
  render: ({ environments }) =>
    formatTable([
      ["ENVIRONMENT", "ON THIS HOST", "DESCRIPTION"],
      ...environments.map((environment) => [
        environment.name,
        presence(environment),
        environment.description,
      ]),
    ]),
});

function presence({ installed, size_bytes, download_bytes }: z.output<typeof environmentRecord>): string {
  if (installed) return `yes, ${formatBytes(size_bytes)}`;
  return download_bytes > 0 ? `no, fetches ${formatBytes(download_bytes)}` : "no";
}
