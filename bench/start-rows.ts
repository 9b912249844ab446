import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { median, timed } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import type { Row } from "./report.js";
import type { RestoreFloors } from "./restore-rows.js";

const execute = promisify(execFile);

/** What a user waits for at the terminal, in turns with bare Node: the daemon runs, its templates are made. */
export async function startRows(
  { command }: BenchState,
  floors: RestoreFloors,
  rounds: number,
): Promise<Row[]> {
  // The daemon, with its templates, is there before anything counts.
  await command("prepare", ENVIRONMENT);
  await command("run", ENVIRONMENT, "--", "true");
  const node: number[] = [];
  const version: number[] = [];
  const runs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    node.push(await timed(() => execute(process.execPath, ["-e", "0"])));
    version.push(await timed(() => command("--version")));
    runs.push(await timed(() => command("run", ENVIRONMENT, "--", "true")));
  }
  const bare = { name: "node -e 0", value: median(node) };
  const guestMs = floors.mountMs + floors.firstExecMs;
  return [
    { name: bare.name, value: bare.value, unit: "ms" },
    { name: "pyro --version", value: median(version), unit: "ms", floor: bare, aim: "floor + 60 ms" },
    {
      name: `pyro run ${ENVIRONMENT} -- true, daemon running`,
      value: median(runs),
      unit: "ms",
      floor: {
        name: "node + raw restore + guest's own identity + first fork+exec",
        value: bare.value + floors.restoreMs + guestMs,
      },
      aim: "floor + 120 ms",
    },
  ];
}
