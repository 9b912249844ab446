import type * as Sandbox from "@openai/agents/sandbox";
import type {
  Manifest,
  SandboxClient,
  SandboxClientCreateArgs,
  SandboxClientOptions,
} from "@openai/agents/sandbox";
import { PyroError } from "../../protocol/index.js";
import type { CreateWorkspaceOptions, Pyro } from "../../sdk/index.js";
import { install } from "../shared/peer.js";
import { applyManifest, checkManifest } from "./manifest.js";
import { PyroSandboxSession, type PyroSandboxState } from "./session.js";

/** The workspaces that a client makes; default debian:12, empty, without a network. */
export type PyroSandboxOptions = SandboxClientOptions & Partial<CreateWorkspaceOptions>;

type Sdk = typeof Sandbox;

/**
 * Makes a workspace for each session of the Agents SDK: `run(agent, input, { sandbox: { client } })`. The SDK closes what
 * it made when a run ends, which deletes the workspace; to keep one over several runs give `sandbox: { session }`, made by
 * `create` or `open`. The client of the daemon stays yours to dispose of.
 */
export class PyroSandboxClient implements SandboxClient<PyroSandboxOptions, PyroSandboxState> {
  readonly backendId = "pyro";
  readonly #pyro: Pyro;
  readonly #options: PyroSandboxOptions;

  constructor(pyro: Pyro, options: PyroSandboxOptions = {}) {
    this.#pyro = pyro;
    this.#options = options;
  }

  /**
   * A session in a new workspace, with a manifest's users, variables and files. Of one that fails nothing stays.
   * @throws {PyroError} INVALID_ARGUMENT for what a workspace does not have: mounts, groups, snapshots of the SDK
   */
  async create(
    args?: SandboxClientCreateArgs<PyroSandboxOptions> | Manifest,
    manifestOptions?: PyroSandboxOptions,
  ): Promise<PyroSandboxSession> {
    const sdk = await agentsSdk();
    const { manifest, options, snapshot } = sdk.normalizeSandboxClientCreateArgs(args, manifestOptions);
    if (snapshot !== undefined && snapshot.type !== "noop")
      throw new PyroError(
        "INVALID_ARGUMENT",
        `there are no snapshots of the kind ${JSON.stringify(snapshot.type)}`,
        {
          hint: "leave `snapshot` out; `createSnapshot` and `saveEnvironment` of Pyro keep a workspace's state",
        },
      );
    checkManifest(manifest);
    const environment = await manifest.resolveEnvironment();
    const wanted = { environment: "debian:12", ...this.#options, ...options };
    const { workspaceId } = await this.#pyro.createWorkspace(wanted);
    const session = new PyroSandboxSession(this.#pyro, { manifest, workspaceId, environment }, true);
    try {
      await applyManifest(this.#pyro, workspaceId, manifest);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** A session in a workspace that is there, and stays when the session is closed. @throws {PyroError} WORKSPACE_NOT_FOUND */
  async open(workspace: string): Promise<PyroSandboxSession> {
    const { Manifest } = await agentsSdk();
    const { workspaceId } = await this.#pyro.statusWorkspace(workspace);
    return new PyroSandboxSession(
      this.#pyro,
      { manifest: new Manifest(), workspaceId, environment: {} },
      false,
    );
  }

  async delete({ workspaceId }: PyroSandboxState): Promise<void> {
    await this.#pyro.deleteWorkspace(workspaceId);
  }
}

/** Nothing of it is needed to load this module. @throws {PyroError} CONFIG_INVALID */
async function agentsSdk(): Promise<Sdk> {
  const hint = install("@openai/agents");
  const sdk = await import("@openai/agents/sandbox").catch((error: unknown) => {
    throw new PyroError(
      "CONFIG_INVALID",
      `the sandboxes of the Agents SDK cannot be loaded: ${String(error)}`,
      { hint, cause: error },
    );
  });
  const found: Partial<Sdk> = sdk;
  if (typeof found.normalizeSandboxClientCreateArgs === "function" && typeof found.Manifest === "function")
    return sdk;
  throw new PyroError("CONFIG_INVALID", "this version of the Agents SDK has other sandboxes", { hint });
}
