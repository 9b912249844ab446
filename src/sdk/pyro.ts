import { LIMITS, PyroError } from "../protocol/index.js";
import { unreachable, type CallOptions } from "./call.js";
import type { DaemonClientOptions } from "./daemon-client.js";
import { logPathOf } from "./daemon-files.js";
import { noDaemon, toDaemonStatus, type DaemonStatus, type DaemonStopped } from "./daemon-status.js";
import { followDiagnosis, type DoctorCheck, type DoctorReport } from "./doctor.js";
import {
  followPull,
  followPush,
  toDetails,
  toPullRequest,
  toSummary,
  type EnvironmentDetails,
  type DeletedEnvironment,
  type EnvironmentList,
  type PruneOptions,
  type PruneResult,
  type PullOptions,
  type PullProgress,
  type PullResult,
  type PushResult,
} from "./environments.js";
import { followBuild, toBuildRequest, type BuildOptions, type BuildResult } from "./build.js";
import { followPrepare, type PrepareOptions, type PrepareResult } from "./prepare.js";
import { toRunSpec, type RunInVmOptions } from "./run-options.js";
import { toRecord, type RunRecord } from "./run-record.js";
import type { CommandResult } from "./run-result.js";
import type { RunInput } from "./run-stream.js";
import { VmCalls } from "./vm-calls.js";
import { collectRun, streamRun, type CollectedRunOptions, type RunStream } from "./run.js";

export type PyroOptions = DaemonClientOptions;

/**
 * Virtual machines for one program: a client of the pyro daemon of this user, which is started on demand. Methods
 * reject with PyroError: code, message, hint, retryable. A command that ran and failed is a result, not an error.
 */
export class Pyro extends VmCalls implements AsyncDisposable {
  /** Where the daemon of this client keeps its state. */
  get stateDir(): string {
    return this.client.stateDir;
  }

  // ------------------------------------------------------------------ one-shot runs

  /** Runs one command in one fresh VM, which is gone when this resolves; the output is collected, bounded. */
  runInVm(options: CollectedRunOptions, call: CallOptions = {}): Promise<CommandResult> {
    return promised(() => collectRun(this.client, options, call));
  }

  /** The same with its output as it comes: `for await (const event of pyro.streamInVm(…))`. */
  streamInVm(
    options: RunInVmOptions & { readonly stdin?: RunInput | undefined },
    call: CallOptions = {},
  ): RunStream {
    return streamRun(this.client, options, call);
  }

  /** Starts a command that goes on without this client; `readRun` follows it. */
  startRun(options: RunInVmOptions, call: CallOptions = {}): Promise<RunRecord> {
    return promised(() => {
      const spec = toRunSpec(options);
      return this.client.call("run", "starting the run", call, async (run, { signal }) =>
        toRecord(await run.startRun({ spec }, { signal })),
      );
    });
  }

  /**
   * State and output of a started run, kept 10 minutes after its VM is gone. Waits up to `waitMs` for its end;
   * `maxBytes` bounds the window of output from `offset` on, head and tail.
   */
  readRun(
    options: {
      readonly runId: string;
      readonly offset?: number | undefined;
      readonly maxBytes?: number | undefined;
      readonly waitMs?: number | undefined;
    },
    call: CallOptions = {},
  ): Promise<RunRecord> {
    const { runId, offset = 0, maxBytes = 65_536, waitMs = 0 } = options;
    return promised(() => {
      const request = {
        runId,
        offset: BigInt(whole("offset", offset, Number.MAX_SAFE_INTEGER)),
        maxBytes: whole("maxBytes", maxBytes, 65_536),
        waitMs: whole("waitMs", waitMs, LIMITS.mcpBlockMs),
      };
      return this.client.call("run", "reading the run", call, async (run, { signal }) =>
        toRecord(await run.readRun(request, { signal })),
      );
    });
  }

  /** Ends a started run and its VM. */
  cancelRun(runId: string, call: CallOptions = {}): Promise<RunRecord> {
    return this.client.call("run", "cancelling the run", call, async (run, { signal }) =>
      toRecord(await run.cancelRun({ runId }, { signal })),
    );
  }

  // ------------------------------------------------------------------ environments

  /** The catalogue, and what of it is on this host. */
  listEnvironments(call: CallOptions = {}): Promise<EnvironmentList> {
    return this.client.call(
      "environment",
      "listing the environments",
      call,
      async (environment, { signal }) => {
        const { catalogVersion, environments } = await environment.list({}, { signal });
        return { catalogVersion, environments: environments.map(toSummary) };
      },
    );
  }

  /** One environment with its packages. */
  inspectEnvironment(name: string, call: CallOptions = {}): Promise<EnvironmentDetails> {
    return this.client.call(
      "environment",
      "inspecting the environment",
      call,
      async (environment, { signal }) => toDetails(await environment.inspect({ name }, { signal })),
    );
  }

  /**
   * Makes an environment present and whole: resumes what was begun, repairs what is damaged. With `fromPath`, makes one of
   * that name of an archive of this host.
   */
  pullEnvironment(name: string, options: PullOptions = {}, call: CallOptions = {}): Promise<PullResult> {
    return promised(() => {
      const request = toPullRequest(name, options);
      return this.client.call("environment", "pulling the environment", call, (environment, { signal }) =>
        followPull(environment.pull(request, { signal }), options.onProgress),
      );
    });
  }

  /**
   * Builds an environment of one's own, step by step on another: of a file, or of what the options say. What was done
   * before of the same inputs is used.
   * @throws {PyroError} BUILD_FILE_INVALID, BUILD_SOURCE_NOT_FOUND, ENVIRONMENT_BUILD_FAILED where a step fails, …
   */
  buildEnvironment(options: BuildOptions, call: CallOptions = {}): Promise<BuildResult> {
    return promised(() => {
      const request = toBuildRequest(options);
      return this.client.call("environment", "building the environment", call, (environment, { signal }) =>
        followBuild(environment.build(request, { signal }), options),
      );
    });
  }

  /**
   * Publishes an environment as an image of a registry, which podman and docker run and `env pull` gives back. Logins are
   * those of the user's container configuration.
   * @param reference where to, such as "registry.example.org/team/tool:1"
   */
  pushEnvironment(
    name: string,
    reference: string,
    options: { readonly onProgress?: ((progress: PullProgress) => void) | undefined } = {},
    call: CallOptions = {},
  ): Promise<PushResult> {
    return this.client.call("environment", "pushing the environment", call, (environment, { signal }) =>
      followPush(environment.push({ name, reference }, { signal }), options.onProgress),
    );
  }

  /** Removes leftovers and images that no environment names, and what `options` names besides. */
  pruneEnvironments(options: PruneOptions = {}, call: CallOptions = {}): Promise<PruneResult> {
    const { all = false, unused = false, olderThanSeconds = 0, dryRun = false } = options;
    const request = { all, unused, olderThanSeconds: BigInt(olderThanSeconds), dryRun };
    return this.client.call(
      "environment",
      "pruning the environments",
      call,
      async (environment, { signal }) => {
        const { removed, freedBytes } = await environment.prune(request, { signal });
        return { removed: [...removed], freedBytes: Number(freedBytes) };
      },
    );
  }

  /**
   * Removes one environment, wherever it came from; its image goes with it, unless another has the same.
   * @throws {PyroError} UNKNOWN_ENVIRONMENT, ENVIRONMENT_NOT_PULLED, ENVIRONMENT_IN_USE, ENVIRONMENT_BUSY
   */
  deleteEnvironment(name: string, call: CallOptions = {}): Promise<DeletedEnvironment> {
    return this.client.call(
      "environment",
      "deleting the environment",
      call,
      async (environment, { signal }) => {
        const deleted = await environment.delete({ name }, { signal });
        return { name: deleted.name, freedBytes: Number(deleted.freedBytes) };
      },
    );
  }

  // ------------------------------------------------------------------ the host and the daemon

  /** Warms this host once: what the first machine of an environment would wait for is there afterwards. */
  prepare(options: PrepareOptions = {}, call: CallOptions = {}): Promise<PrepareResult> {
    const { environment = "debian:12", network = false, force = false, onProgress } = options;
    return this.client.call("environment", "preparing this host", call, (environments, { signal }) =>
      followPrepare(environments.prepare({ environment, network, force }, { signal }), onProgress),
    );
  }

  /** Proves the host: boots a probe VM on each accelerator and names each fix. */
  doctor(
    options: {
      readonly environment?: string | undefined;
      readonly onCheck?: ((check: DoctorCheck) => void) | undefined;
    } = {},
    call: CallOptions = {},
  ): Promise<DoctorReport> {
    return this.client.call("doctor", "the diagnosis", call, (doctor, { signal }) =>
      followDiagnosis(
        doctor.diagnose({ environment: options.environment ?? "" }, { signal }),
        options.onCheck,
      ),
    );
  }

  /** The daemon that runs now; starts none. */
  async daemonStatus(call: CallOptions = {}): Promise<DaemonStatus> {
    const found = await this.client.running(call);
    if (found === undefined) return noDaemon(this.stateDir, logPathOf(this.stateDir));
    found.connection[Symbol.dispose]();
    return toDaemonStatus(found.status);
  }

  /**
   * Ends the daemon, and waits until it left.
   * @throws {PyroError} DAEMON_BUSY while machines or calls are alive, unless `force`
   */
  async stopDaemon(
    options: { readonly force?: boolean | undefined } = {},
    call: CallOptions = {},
  ): Promise<DaemonStopped> {
    const found = await this.client.running(call);
    if (found === undefined) return { wasRunning: false };
    using connection = found.connection;
    const { stopping, reason } = await this.client.ask(
      "stopping the daemon",
      call,
      connection,
      async (signal) =>
        (await connection.service("daemon")).stop({ force: options.force ?? false }, { signal }),
    );
    if (!stopping) {
      throw new PyroError("DAEMON_BUSY", `the daemon still works: ${reason}`, {
        hint: "wait for it, or end that as well with `pyro daemon stop --force`",
        retryable: true,
      });
    }
    connection[Symbol.dispose]();
    if (await this.client.untilGone(found.status.pid, call.signal)) return { wasRunning: true };
    throw unreachable(new Error(`process ${found.status.pid} said that it stops, and did not leave`));
  }

  /** Ends the connection; what was started with `startRun` goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.client[Symbol.asyncDispose]();
  }
}

/** A wrong argument rejects, like every other failure. */
async function promised<T>(body: () => Promise<T>): Promise<T> {
  return await body();
}

function whole(name: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new PyroError("INVALID_ARGUMENT", `${name} is ${value}`, {
    hint: `give a whole number from 0 to ${max}`,
  });
}
