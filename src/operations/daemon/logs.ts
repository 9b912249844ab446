import * as z from "zod";
import { declare } from "../operation.js";

/** `pyro daemon logs`: the command line prints and follows the file itself. */
export const daemonLogs = declare({
  name: "daemon_logs",
  command: ["daemon", "logs"],
  summary: "Print the daemon's log: one JSON object per line",
  description: "",
  profiles: [],
  kind: "read",
  input: z.strictObject({
    follow: z.boolean().default(false).describe("Go on printing what is added, until Ctrl-C"),
    tail_lines: z.int().min(1).max(100_000).default(200).describe("Lines from the end"),
  }),
  positionals: [],
  examples: [{ command: "pyro daemon logs --follow", says: "what happens now" }],
});
