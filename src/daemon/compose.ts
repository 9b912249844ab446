import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectGuest } from "../guest/index.js";
import {
  EnvironmentPulls,
  EnvironmentPushes,
  EnvironmentStore,
  HostPrograms,
  layoutOf,
  loadCatalogue,
  toolRemedy,
  type ToolRemedy,
} from "../image/index.js";
import {
  networkVariables,
  packagePath,
  Slots,
  thisDistribution,
  type Directories,
  type Logger,
} from "../kit/index.js";
import { DEFAULT_MACHINE } from "../protocol/index.js";
import { DaemonService } from "../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { DoctorService } from "../protocol/gen/pyro/daemon/v1/doctor_pb.js";
import { EnvironmentService } from "../protocol/gen/pyro/daemon/v1/environment_pb.js";
import { RunService } from "../protocol/gen/pyro/daemon/v1/run_pb.js";
import { WorkspaceService } from "../protocol/gen/pyro/daemon/v1/workspace_pb.js";
import { NetworkService } from "../protocol/gen/pyro/daemon/v1/network_pb.js";
import { TopService } from "../protocol/gen/pyro/daemon/v1/top_pb.js";
import { VmService } from "../protocol/gen/pyro/daemon/v1/vm_pb.js";
import { SupervisorService } from "../protocol/gen/pyro/daemon/v1/service_pb.js";
import { WorkspaceDiskService } from "../protocol/gen/pyro/daemon/v1/workspace_disk_pb.js";
import { ShellService } from "../protocol/gen/pyro/daemon/v1/shell_pb.js";
import {
  locateQemu,
  locateRuntimeBundle,
  QemuDriver,
  type RuntimeBundle,
  type VmmDriver,
} from "../vmm/index.js";
import { RunRegistry, Seeding, Vms, Workspaces } from "../workspace/index.js";
import { EnvironmentBuilds, layerMaker } from "../build/index.js";
import { Accelerators } from "./accelerators.js";
import type { Activity } from "./activity.js";
import { buildMachines } from "./build-machines.js";
import { builderVm } from "./builder-vm.js";
import type { Configuration } from "./configuration.js";
import { MACHINE_DISK_BYTES } from "./disks.js";
import { environmentMaker } from "./environment-maker.js";
import { ImagesInUse, usersOf } from "./images-in-use.js";
import { Machines } from "./machines.js";
import { ImagesOfRegistries } from "./registries.js";
import { requiredIsolation } from "./required-isolation.js";
import { Overlays } from "./overlay.js";
import { poolSize } from "./pool-size.js";
import { poolOfMachines, ReadyMachines } from "./ready-machine.js";
import { packerVm } from "./packer-vm.js";
import { prepareHost } from "./prepare.js";
import { Pruning } from "./pruning.js";
import { HostProvision } from "./provision/index.js";
import { SavedMachines } from "./saved-machines.js";
import { requireImage, sandboxes } from "./sandboxes.js";
import { Templates } from "./templates.js";
import { workspaceDisks } from "./disk-reader.js";
import { openNetworks } from "./networks.js";
import { daemonService } from "./services/daemon.js";
import { doctorService } from "./services/doctor.js";
import { environmentService, readinessOf } from "./services/environment.js";
import { networkService } from "./services/network.js";
import { runService } from "./services/run.js";
import { topService } from "./services/top.js";
import { vmService } from "./services/vm.js";
import { supervisorService } from "./services/service.js";
import { shellService } from "./services/shell.js";
import { workspaceService } from "./services/workspace.js";
import { workspaceDiskService } from "./services/workspace-disk.js";
import { workspaceMachines } from "./workspace-machines.js";

export interface ComposeOptions {
  readonly version: string;
  readonly buildId: string;
  readonly directories: Directories;
  readonly configuration: Configuration;
  readonly logPath: string;
  readonly log: Logger;
  readonly activity: Activity;
  readonly stop: () => void;
  /** Most machines that wait ready, in all; 0: none. Default: poolSize. */
  readonly poolSize?: number;
  /** Default: the real ones. */
  readonly drivers?: Drivers;
}

/** The daemon's API. */
export interface Room extends AsyncDisposable {
  readonly routes: (router: ConnectRouter) => void;
}

/** What the daemon stands on; tests put fakes in its place. */
export interface Drivers {
  readonly driver: VmmDriver;
  readonly bundle: () => Promise<Pick<RuntimeBundle, "version" | "digest" | "holderPath" | "emptyDiskPath">>;
  readonly qemuVersion: () => Promise<string>;
  readonly host: HostPrograms;
  /** Where the catalogue's files are. */
  readonly catalogueDirectory: string;
}

/** QEMU, the bundle of this package, and the host's own programs. */
export function realDrivers({ cache }: Directories): Drivers {
  const bundle = () => locateRuntimeBundle({ verdictFile: join(cache, "runtime-verdict.json") });
  return {
    driver: new QemuDriver({ bundle }),
    bundle,
    qemuVersion: async () => (await locateQemu()).version,
    host: new HostPrograms(),
    catalogueDirectory: packagePath("environments"),
  };
}

/** Ties the rooms together: the only place that knows all of them. Sweeps what was left first. */
export async function compose(options: ComposeOptions): Promise<Room> {
  const { directories, configuration, log, activity } = options;
  const drivers = options.drivers ?? realDrivers(directories);
  const { driver, bundle, host } = drivers;
  const startedAtMs = Date.now();
  const slots = new Slots(availableParallelism());
  const machines = new Machines({
    directory: join(directories.state, "vms"),
    driver,
    slots,
    log,
    connect: (socket, { signal }) =>
      connectGuest(socket, { hostVersion: options.version, ...(signal === undefined ? {} : { signal }) }),
  });
  const accelerators = new Accelerators({ ...drivers, machines, cacheDirectory: directories.cache, log });
  const isolation = requiredIsolation(accelerators, configuration);
  const catalogue = await loadCatalogue(drivers.catalogueDirectory);
  const store = new EnvironmentStore(catalogue, layoutOf(directories.cache));
  const inUse = new ImagesInUse();
  const registries = new ImagesOfRegistries({
    cacheDirectory: directories.cache,
    settings: configuration.settings,
    environment: process.env,
  });
  const overlays = new Overlays();
  const templates = new Templates({
    ...{ machines, driver, bundle, overlays, inUse, log },
    directory: join(directories.cache, "templates"),
  });
  const templateReadiness = () =>
    templates.readiness({ ...DEFAULT_MACHINE, diskBytes: MACHINE_DISK_BYTES }, accelerators.known);
  const saved = new SavedMachines({ machines, bundle, keyOf: (shape) => templates.keyOf(shape) });
  const ready = new ReadyMachines({ templates, saved, inUse, overlays });
  const packer = packerVm({ machines, isolation, log }, overlays);
  const hold = (digest: string) => inUse.hold(digest);
  const pushes = new EnvironmentPushes(
    { store, packer, images: () => registries.pushes(), blobs: () => registries.store(), hold },
    directories.cache,
  );
  const pool = poolOfMachines(ready, options.poolSize ?? poolSize(configuration.settings.pool), log);
  const { settings } = configuration;
  const provision = new HostProvision({ settings, variables: networkVariables(), host, log });
  const networks = openNetworks({ log, dial: provision.dial, provision: () => provision.read() });
  const stepMachines = buildMachines({ templates, overlays, isolation, networks, log });
  const emptyDisk = async () => (await bundle()).emptyDiskPath;
  const builder = builderVm({ machines, isolation, log, emptyDisk });
  const pulls = new EnvironmentPulls({
    ...{ store, builder },
    images: () => registries.pulls(),
    layers: layerMaker(stepMachines, hold),
    aptSources: settings.apt_sources,
    host,
    logger: log,
    inUse: () => Promise.resolve(inUse.digests),
  });
  const opening = { ready, pool, isolation, store, pulls, networks, log };
  const factory = sandboxes(opening);
  const builds = new EnvironmentBuilds({
    ...{ store, host, inUse: () => Promise.resolve(inUse.digests) },
    ...{ hold, machines: stepMachines },
    requireBase: async (environment, { noPull, signal, onProgress }) =>
      await requireImage(
        opening,
        { environment, noPull },
        {
          signal,
          onPhase: ({ message, progress = 0 }) =>
            onProgress({
              message,
              bytesDone: Math.round(progress * 100),
              bytesTotal: progress === 0 ? 0 : 100,
            }),
        },
      ),
  });
  const runs = new RunRegistry(join(directories.state, "runs"), factory, log);

  const lasting = {
    machines: workspaceMachines({ ...opening, saved, machines, inUse, overlays, layout: store.layout }),
    disks: workspaceDisks({
      ...{ templates, overlays, inUse, layout: store.layout, isolation },
      claim: environmentMaker({ builder, machines, overlays, isolation, log, store, host, inUse }),
    }),
    ...{ networks, log, now: () => Date.now() },
  };
  const workspaces = new Workspaces({
    directory: join(directories.state, "workspaces"),
    idleSuspendMs: (configuration.settings.idle_suspend ?? 0) * 1000,
    ...lasting,
  });
  const vms = new Vms({
    ...{ directory: join(directories.state, "kept-vms"), runs, ...lasting },
    requireKnown: (environment) => store.inspect(environment),
  });
  const pruning = new Pruning({
    ...{ store, inUse, pulls, builds, templates, registries },
    clearPool: () => pool.clear(),
    usersOf: (digest) => usersOf(digest, [...workspaces.all, ...vms.kept.all], inUse),
  });
  activity.keepWhile(() => pool.size > 0 || workspaces.isBusy || vms.kept.isBusy);
  const seeding = new Seeding(join(directories.state, "seeds"));
  await seeding.sweep();
  await workspaces.load();
  await vms.load();
  await machines.sweep(new Set([...workspaces.machineIds, ...vms.kept.machineIds]));
  await templates.sweep();
  await runs.recover();
  await pulls.sweepStale();
  await pushes.sweepStale();
  await builds.sweepStale();
  workspaces.adopt();
  vms.kept.adopt();

  return {
    routes: (router) => {
      router.service(RunService, runService(factory, runs));
      router.service(WorkspaceService, workspaceService(workspaces, seeding));
      router.service(VmService, vmService(vms));
      router.service(TopService, topService(workspaces));
      router.service(SupervisorService, supervisorService(workspaces));
      router.service(WorkspaceDiskService, workspaceDiskService(workspaces));
      router.service(ShellService, shellService(workspaces));
      router.service(NetworkService, networkService(workspaces));
      router.service(
        EnvironmentService,
        environmentService({
          ...{ store, pulls, pushes, builds, pruning, templateReadiness },
          prepare: (request, caller) =>
            prepareHost(
              { store, pulls, isolation, templates, expect: (shape) => pool.used(shape) },
              request,
              caller,
            ),
        }),
      );
      router.service(
        DoctorService,
        doctorService({
          directories,
          configuration,
          qemuVersion: drivers.qemuVersion,
          runtimeVersion: async () => (await bundle()).version,
          probeAccelerators: (signal) => accelerators.examine(signal),
          missingTools: () => missingTools(host),
          fetchesPackages: (signal) => pulls.fetchesPackages(signal),
          network: () => provision.describe(),
          environment: async (name) => {
            const { state, downloadBytes } = await store.inspect(name);
            if (state === "damaged") await store.require(name);
            const readiness = readinessOf(state, await templateReadiness());
            return { installed: state === "installed", downloadBytes, readiness };
          },
        }),
      );
      router.service(
        DaemonService,
        daemonService({
          ...options,
          startedAtMs,
          isolation: () => accelerators.known ?? "",
          load: () => ({
            runningVms: Math.max(0, machines.runningCount - pool.size),
            pooledVms: pool.waiting,
            queuedBoots: ready.queued + slots.queued,
            // The call that asks is one of them.
            activeCalls: activity.active - 1,
            workspaceVms: workspaces.runningCount + vms.kept.runningCount,
          }),
          stopWorkspaces: async () => {
            await Promise.all([workspaces.stopAll(), vms.kept.stopAll()]);
          },
        }),
      );
    },
    [Symbol.asyncDispose]: async () => {
      await pulls.close();
      await pushes.close();
      await builds.close();
      await workspaces[Symbol.asyncDispose]();
      await runs[Symbol.asyncDispose]();
      // A command's run deletes its VM.
      await vms[Symbol.asyncDispose]();
      await pool[Symbol.asyncDispose]();
      await templates[Symbol.asyncDispose]();
      await accelerators[Symbol.asyncDispose]();
      await machines[Symbol.asyncDispose]();
      await registries[Symbol.asyncDispose]();
    },
  };
}

async function missingTools(host: HostPrograms): Promise<ToolRemedy & { names: string[] }> {
  const missing = (await host.check()).filter(({ required, found }) => required && !found);
  const names = missing.map(({ program }) => program);
  return { names, ...toolRemedy(names, await thisDistribution()) };
}
