import type { Client } from "@connectrpc/connect";
import type { OpenStream } from "./wire-call.js";
import { wireClient } from "./wire-client.js";

/**
 * The daemon's services. Each is described in a file of its own, which is read when one is first called: reading all of
 * them takes 20 ms, a fifth of what a short command costs on this side.
 */
const SERVICES = {
  daemon: async () => (await import("../protocol/gen/pyro/daemon/v1/daemon_pb.js")).DaemonService,
  run: async () => (await import("../protocol/gen/pyro/daemon/v1/run_pb.js")).RunService,
  environment: async () =>
    (await import("../protocol/gen/pyro/daemon/v1/environment_pb.js")).EnvironmentService,
  doctor: async () => (await import("../protocol/gen/pyro/daemon/v1/doctor_pb.js")).DoctorService,
  workspace: async () => (await import("../protocol/gen/pyro/daemon/v1/workspace_pb.js")).WorkspaceService,
  workspaceDisk: async () =>
    (await import("../protocol/gen/pyro/daemon/v1/workspace_disk_pb.js")).WorkspaceDiskService,
  vm: async () => (await import("../protocol/gen/pyro/daemon/v1/vm_pb.js")).VmService,
  top: async () => (await import("../protocol/gen/pyro/daemon/v1/top_pb.js")).TopService,
  supervisor: async () => (await import("../protocol/gen/pyro/daemon/v1/service_pb.js")).SupervisorService,
  shell: async () => (await import("../protocol/gen/pyro/daemon/v1/shell_pb.js")).ShellService,
  network: async () => (await import("../protocol/gen/pyro/daemon/v1/network_pb.js")).NetworkService,
};

export type ServiceName = keyof typeof SERVICES;
export type ServiceClient<Name extends ServiceName> = Client<Awaited<ReturnType<(typeof SERVICES)[Name]>>>;

/** Reads a service's description ahead, while there is something else to wait for. */
export function readAhead(name: ServiceName): void {
  // Whoever needs it meets the error.
  SERVICES[name]().catch(() => undefined);
}

/** The typed client of one service. */
export async function serviceClient<Name extends ServiceName>(
  name: Name,
  openStream: OpenStream,
): Promise<ServiceClient<Name>> {
  return wireClient(await SERVICES[name](), openStream) as ServiceClient<Name>;
}
