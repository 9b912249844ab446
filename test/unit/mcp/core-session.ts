import type { ServerOptions } from "../../../src/mcp/index.js";
import { startFakeDaemon, type FakeDaemon } from "../../fakes/fake-daemon.js";
import type { FakeWorkspaces } from "../../fakes/fake-workspaces.js";
import { mcpSession, type McpSession } from "../../fakes/mcp-client.js";
import { temporaryState } from "../../fakes/state-directory.js";

type Service = FakeWorkspaces["service"];

/** A client, a server of the profile workspace-core and a fake daemon, for one test. */
export async function withCore<T>(
  service: Service,
  body: (session: McpSession, daemon: FakeDaemon) => Promise<T>,
  options: ServerOptions = {},
): Promise<T> {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path, { workspace: service });
  const given = {
    profile: "workspace-core",
    noProjectSource: true,
    stateDir: state.path,
    ...options,
  } as const;
  await using session = await mcpSession(given);
  return await body(session, daemon);
}
