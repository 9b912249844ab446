import { median, repeat, timed } from "../src/operations/bench/samples.js";
import { ENVIRONMENT, type BenchState } from "./bench-state.js";
import type { Row } from "./report.js";

/** Writes a block again and again: the longest gap between two, in microseconds, is what a snapshot held it up for. */
const TICKER =
  "import os,time\nf=os.open('/workspace/ticks',os.O_WRONLY|os.O_CREAT)\nworst=0\nlast=time.monotonic()\n" +
  "end=last+%SECONDS%\nwhile last<end:\n os.pwrite(f,b'x'*4096,0)\n now=time.monotonic()\n worst=max(worst,now-last)\n last=now\nprint(int(worst*1e6))\n";
const TICKING_SECONDS = 3;

/** Snapshots of a disk, and resets to them, beside a stop and start of the same workspace. */
export async function snapshotRows({ pyro }: BenchState, rounds: number): Promise<Row[]> {
  const { workspaceId } = await pyro.createWorkspace({ environment: ENVIRONMENT });
  const ticking = async (): Promise<number> => {
    const program = TICKER.replace("%SECONDS%", String(TICKING_SECONDS));
    const { output } = await pyro.execWorkspace({ workspaceId, argv: ["python3", "-c", program] });
    return Number(Buffer.from(output?.head ?? []).toString()) / 1000;
  };
  const quiet = await ticking();
  const meanwhile = ticking();
  let taking = 0;
  const taken = await repeat(rounds, () =>
    timed(() => pyro.createSnapshot({ workspaceId, snapshotName: `s${taking++}` })),
  );
  const held = await meanwhile;
  const reset = await repeat(rounds, () => timed(() => pyro.resetWorkspace(workspaceId, { snapshot: "s0" })));
  const restart = await repeat(rounds, async () => {
    await pyro.stopWorkspace(workspaceId);
    return await timed(() => pyro.startWorkspace(workspaceId));
  });
  await pyro.deleteWorkspace(workspaceId);
  return [
    { name: "snapshot of a running workspace's disk, median", value: median(taken), unit: "ms" },
    {
      name: "  the longest that a writer waited meanwhile",
      ...{ value: held, unit: "ms", floor: { name: "without snapshots", value: quiet } },
    },
    {
      name: "reset to a snapshot, median",
      ...{ value: median(reset), unit: "ms", floor: { name: "its start alone", value: median(restart) } },
    },
  ];
}
