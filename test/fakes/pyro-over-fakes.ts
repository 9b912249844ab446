import { Pyro } from "../../src/sdk/index.js";
import { serveWorkspaces, WorkspaceHost } from "./workspace-host.js";

/** Real workspaces over fake machines, through the daemon's services, their real wire and the SDK. */
export interface PyroOverFakes extends AsyncDisposable {
  readonly host: WorkspaceHost;
  readonly served: Awaited<ReturnType<typeof serveWorkspaces>>;
  readonly pyro: Pyro;
}

export async function pyroOverFakes(): Promise<PyroOverFakes> {
  const host = await WorkspaceHost.start();
  const served = await serveWorkspaces(host);
  const pyro = new Pyro({ stateDir: served.stateDir });
  return {
    ...{ host, served, pyro },
    [Symbol.asyncDispose]: async () => {
      await pyro[Symbol.asyncDispose]();
      await served[Symbol.asyncDispose]();
      await host[Symbol.asyncDispose]();
    },
  };
}
