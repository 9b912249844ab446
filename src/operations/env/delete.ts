import * as z from "zod";
import { field, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes } from "../text.js";

const output = z.object({ name: z.string(), freed_bytes: z.number(), deleted: z.literal(true) });

/** `pyro env delete`, `deleteEnvironment`. */
export const envDelete = defineOperation({
  name: "env_delete",
  command: ["env", "delete"],
  summary: "Delete one environment from this host",
  description:
    "Whatever it was made from. What was built or saved here cannot be had again. Refused while a workspace, also a stopped " +
    "one, or a machine uses it.",
  profiles: [],
  kind: "destroy",
  input: z.strictObject({ environment: field.environment().describe("Its name, from `pyro env list`") }),
  output,
  positionals: ["environment"],
  examples: [{ command: "pyro env delete my-tools:1", says: "frees its image, unless another has the same" }],
  run: async ({ environment }, { pyro, signal }) => {
    const deleted = snakeKeys(await pyro.deleteEnvironment(environment, { signal }));
    return output.parse({ ...(deleted as object), deleted: true });
  },
  render: ({ name, freed_bytes }) => `environment ${name} is deleted: ${formatBytes(freed_bytes)} freed`,
});
