/**
 * A daemon for tests: the real wire (Connect over HTTP/2 on `<state>/daemon.sock`), no VM behind it. Each call is
 * answered by the script given to it, else by the small guest of scripted-guest.ts.
 */
import { rm } from "node:fs/promises";
import { createServer, type ServerHttp2Session } from "node:http2";
import { join } from "node:path";
import type { ServiceImpl } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { errorEdge } from "../../src/daemon/wire-error.js";
import { shortSocketPath } from "../../src/kit/index.js";
import { DaemonService } from "../../src/protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { DoctorService } from "../../src/protocol/gen/pyro/daemon/v1/doctor_pb.js";
import { EnvironmentService } from "../../src/protocol/gen/pyro/daemon/v1/environment_pb.js";
import { ErrorDetailSchema } from "../../src/protocol/gen/pyro/daemon/v1/error_pb.js";
import { RunService, type RunSpec } from "../../src/protocol/gen/pyro/daemon/v1/run_pb.js";
import { WorkspaceService } from "../../src/protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { NetworkService } from "../../src/protocol/gen/pyro/daemon/v1/network_pb.js";
import { TopService } from "../../src/protocol/gen/pyro/daemon/v1/top_pb.js";
import { VmService } from "../../src/protocol/gen/pyro/daemon/v1/vm_pb.js";
import { WorkspaceDiskService } from "../../src/protocol/gen/pyro/daemon/v1/workspace_disk_pb.js";
import { SupervisorService } from "../../src/protocol/gen/pyro/daemon/v1/service_pb.js";
import { ShellService } from "../../src/protocol/gen/pyro/daemon/v1/shell_pb.js";
import type { PyroError } from "../../src/protocol/index.js";
import { fakeDoctor, fakeEnvironments } from "./fake-catalogue.js";
import { fakeGuest } from "./scripted-guest.js";

export interface FakeScript {
  readonly daemon?: Partial<ServiceImpl<typeof DaemonService>>;
  readonly run?: Partial<ServiceImpl<typeof RunService>>;
  readonly environment?: Partial<ServiceImpl<typeof EnvironmentService>>;
  readonly doctor?: Partial<ServiceImpl<typeof DoctorService>>;
  /** None but by script; `workspaces` of workspace-host.ts are real ones over fake machines. */
  readonly workspace?: Partial<ServiceImpl<typeof WorkspaceService>>;
  readonly vm?: Partial<ServiceImpl<typeof VmService>>;
  readonly top?: Partial<ServiceImpl<typeof TopService>>;
  readonly workspaceDisk?: Partial<ServiceImpl<typeof WorkspaceDiskService>>;
  /** As `workspace`. */
  readonly supervisor?: Partial<ServiceImpl<typeof SupervisorService>>;
  readonly shell?: Partial<ServiceImpl<typeof ShellService>>;
  readonly network?: Partial<ServiceImpl<typeof NetworkService>>;
  readonly buildId?: string;
}

export interface FakeDaemon extends AsyncDisposable {
  readonly socketPath: string;
  /** What was asked to run, in order. */
  readonly specs: RunSpec[];
  /** Names of the calls that came, in order. */
  readonly calls: string[];
  /** Calls that were left by their client before their end. */
  readonly abandoned: string[];
  /** Ends all connections at once, as a crash would. */
  crash(): void;
}

/** Serves on the state directory's socket until it is disposed of. */
export async function startFakeDaemon(stateDir: string, script: FakeScript = {}): Promise<FakeDaemon> {
  const socketPath = join(stateDir, "daemon.sock");
  const sessions = new Set<ServerHttp2Session>();
  const crash = (): void => sessions.forEach((session) => session.destroy());
  const record = { specs: [] as RunSpec[], calls: [] as string[], abandoned: [] as string[] };
  const stop = (): void => {
    setTimeout(() => void close(), 5);
  };
  const server = createServer(
    connectNodeAdapter({
      grpc: false,
      grpcWeb: false,
      interceptors: [
        errorEdge(() => undefined),
        (next) => async (request) => {
          record.calls.push(request.method.name);
          const call = { done: false };
          request.signal.addEventListener("abort", () => {
            if (!call.done) record.abandoned.push(request.method.name);
          });
          const response = await next(request);
          if (!response.stream) {
            call.done = true;
            return response;
          }
          const message = (async function* () {
            yield* response.message;
            call.done = true;
          })();
          return { ...response, message };
        },
      ],
      routes: (router) => {
        router.service(DaemonService, {
          ...fakeStatus(stateDir, script.buildId ?? "fake", stop),
          ...script.daemon,
        });
        router.service(RunService, { ...fakeGuest(record.specs, crash), ...script.run });
        router.service(EnvironmentService, { ...fakeEnvironments(), ...script.environment });
        router.service(WorkspaceService, { ...script.workspace });
        router.service(VmService, { ...script.vm });
        router.service(TopService, { ...script.top });
        router.service(WorkspaceDiskService, { ...script.workspaceDisk });
        router.service(SupervisorService, { ...script.supervisor });
        router.service(ShellService, { ...script.shell });
        router.service(NetworkService, { ...script.network });
        router.service(DoctorService, { ...fakeDoctor(), ...script.doctor });
      },
    }),
  );
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => undefined);
    session.on("close", () => sessions.delete(session));
  });
  await rm(socketPath, { force: true });
  const short = await shortSocketPath(socketPath);
  await new Promise<void>((resolve) => server.listen(short.path, resolve));
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closed ??= (async () => {
      const done = new Promise<void>((resolve) => server.close(() => resolve()));
      crash();
      await done;
      await short[Symbol.asyncDispose]();
      await rm(socketPath, { force: true });
    })());
  return { socketPath, ...record, crash, [Symbol.asyncDispose]: close };
}

function fakeStatus(stateDir: string, buildId: string, stop: () => void): ServiceImpl<typeof DaemonService> {
  return {
    status: () => ({
      version: "0.0.0-fake",
      pid: process.pid,
      startedAtMs: 1_700_000_000_000n,
      stateDir,
      cacheDir: join(stateDir, "cache"),
      logPath: join(stateDir, "daemon.log"),
      isolation: "software",
      runningVms: 1,
      queuedBoots: 0,
      residentBytes: 50_000_000n,
      buildId,
      activeCalls: 0,
    }),
    stop: () => {
      stop();
      return { stopping: true };
    },
  };
}

/** An error as the real daemon sends it. */
export function asWireError(error: PyroError, code = Code.FailedPrecondition): ConnectError {
  const value = {
    code: error.code,
    message: error.message,
    hint: error.hint,
    detailsJson: JSON.stringify(error.details),
    retryable: error.retryable,
  };
  return new ConnectError(error.message, code, undefined, [{ desc: ErrorDetailSchema, value }]);
}
