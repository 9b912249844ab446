import * as z from "zod";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes } from "../text.js";
import { age, secondsOf } from "./age.js";

const output = z.object({ removed: z.array(z.string()), freed_bytes: z.number(), dry_run: z.boolean() });

/** `pyro env prune`. */
export const envPrune = defineOperation({
  name: "env_prune",
  command: ["env", "prune"],
  summary: "Remove leftovers, and environments that are not used",
  description:
    "Without options only leftovers: images that no environment names, fetched packages, pulls that ended early. What was " +
    "built, saved or read from an archive is removed by its name alone: `pyro env delete`.",
  profiles: [],
  kind: "destroy",
  input: z.strictObject({
    all: z.boolean().default(false).describe("The same as --unused"),
    unused: z
      .boolean()
      .default(false)
      .describe("Also what was pulled and no workspace or machine uses; a pull brings it back"),
    older_than: age().optional().describe("Only what of that was last used so long ago: 30d, 12h"),
    dry_run: z.boolean().default(false).describe("Remove nothing, and say what would be removed"),
  }),
  output,
  positionals: [],
  examples: [
    { command: "pyro env prune", says: "frees what nothing needs" },
    { command: "pyro env prune --older-than 30d --dry-run", says: "what was not used for a month" },
  ],
  run: async ({ all, unused, older_than: olderThan, dry_run: dryRun }, { pyro, signal }) => {
    const olderThanSeconds = olderThan === undefined ? undefined : secondsOf(olderThan);
    const pruned = await pyro.pruneEnvironments({ all, unused, olderThanSeconds, dryRun }, { signal });
    return output.parse({ ...(snakeKeys(pruned) as object), dry_run: dryRun });
  },
  render: ({ removed, freed_bytes, dry_run }) => {
    if (removed.length === 0) return "nothing to remove";
    const lines = removed.map((name) => `  ${name}`).join("\n");
    const size = formatBytes(freed_bytes);
    return dry_run ? `would remove, and free ${size}:\n${lines}` : `removed, and freed ${size}:\n${lines}`;
  },
});
