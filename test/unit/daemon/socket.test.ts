import { join } from "node:path";
import { expect, test } from "vitest";
import { Activity, countCalls } from "../../../src/daemon/activity.js";
import { listen } from "../../../src/daemon/socket.js";
import { WorkspaceService } from "../../../src/protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { openConnection } from "../../../src/sdk/connection.js";
import { temporaryState } from "../../fakes/state-directory.js";

test("A caller that goes away while it is waited for to read has its call ended, so that the daemon may leave", async () => {
  await using state = await temporaryState();
  using activity = new Activity(60_000, () => undefined);
  let sent = 0;
  let isLeft = false;
  const data = new Uint8Array(64 * 1024);
  async function* flood(): AsyncGenerator<{ data: Uint8Array }> {
    try {
      for (;;) {
        sent += 1;
        yield { data };
      }
    } finally {
      isLeft = true;
    }
  }
  await using _server = await listen(
    state.path,
    (router) => router.service(WorkspaceService, { readFile: () => flood() }),
    [countCalls(activity)],
  );
  const connection = await openConnection(join(state.path, "daemon.sock"));
  const answers = (await connection.service("workspace")).readFile({})[Symbol.asyncIterator]();
  await answers.next();
  // It reads no more: soon nothing more is sent.
  for (let before = 0; before !== sent;) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect({ active: activity.active, isLeft }).toEqual({ active: 1, isLeft: false });
  connection[Symbol.dispose]();
  await expect.poll(() => ({ active: activity.active, isLeft })).toEqual({ active: 0, isLeft: true });
  await answers.return?.();
});
