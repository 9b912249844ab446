import * as z from "zod";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes } from "../text.js";

const output = z.object({ removed: z.array(z.string()), freed_bytes: z.number() });

/** `pyro env prune`. */
export const envPrune = defineOperation({
  name: "env_prune",
  command: ["env", "prune"],
  summary: "Remove leftovers and images that the catalogue no longer names",
  description: "",
  profiles: [],
  kind: "destroy",
  input: z.strictObject({
    all: z.boolean().default(false).describe("Also the images that are installed and in order"),
  }),
  output,
  positionals: [],
  examples: [{ command: "pyro env prune", says: "frees what nothing uses" }],
  run: async ({ all }, { pyro, signal }) =>
    output.parse(snakeKeys(await pyro.pruneEnvironments({ all }, { signal }))),
  render: ({ removed, freed_bytes }) =>
    removed.length === 0
      ? "nothing to remove"
      : `removed ${removed.join(", ")}: ${formatBytes(freed_bytes)} freed`,
});
