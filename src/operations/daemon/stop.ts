import * as z from "zod";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";

const output = z.object({ was_running: z.boolean() });

/** `pyro daemon stop`. */
export const daemonStop = defineOperation({
  name: "daemon_stop",
  command: ["daemon", "stop"],
  summary: "End the daemon; it also leaves by itself when it is idle",
  description: "",
  profiles: [],
  kind: "destroy",
  input: z.strictObject({
    force: z
      .boolean()
      .default(false)
      .describe("Also while machines run or calls are unfinished: they end with it"),
  }),
  output,
  positionals: [],
  examples: [{ command: "pyro daemon stop", says: "refuses while something runs" }],
  run: async ({ force }, { pyro, signal }) =>
    output.parse(snakeKeys(await pyro.stopDaemon({ force }, { signal }))),
  render: ({ was_running }) => (was_running ? "stopped" : "no daemon was running"),
});
