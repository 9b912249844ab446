import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { CheckSchema, DoctorService } from "../../src/protocol/gen/pyro/daemon/v1/doctor_pb.js";
import type {
  EnvironmentSchema,
  EnvironmentService,
} from "../../src/protocol/gen/pyro/daemon/v1/environment_pb.js";
import { PyroError } from "../../src/protocol/index.js";
import { asWireError } from "./fake-daemon.js";

const installed: MessageInitShape<typeof EnvironmentSchema> = {
  name: "debian:12",
  description: "Debian 12 with git",
  installed: true,
  source: "curated",
  digest: `sha256:${"a".repeat(64)}`,
  sizeBytes: 300_000_000n,
  template: "cold",
  downloadBytes: 90_000_000n,
  createdAtMs: 1_700_000_000_000n,
  imagePath: "/cache/debian-12.img",
  packages: [{ name: "git", version: "1:2.39" }],
};
const missing: MessageInitShape<typeof EnvironmentSchema> = {
  name: "debian:12-build",
  description: "Debian 12 with compilers",
  source: "curated",
  template: "cold",
  downloadBytes: 250_000_000n,
};

/** The EnvironmentService of the fake daemon: one environment is there, one is not. */
export function fakeEnvironments(): ServiceImpl<typeof EnvironmentService> {
  return {
    list: () => ({ catalogVersion: "2026-01", environments: [installed, missing] }),
    inspect: ({ name }) => find(name),
    async *pull({ name }) {
      await Promise.resolve();
      const environment = find(name);
      if (environment.installed === true) {
        yield { event: { case: "result", value: { environment, reused: true, durationMs: 1n } } };
        return;
      }
      yield progress("fetch", 0n, 100n);
      yield progress("fetch", 50n, 100n);
      yield progress("unpack", 0n, 0n);
      yield {
        event: {
          case: "result",
          value: { environment: { ...environment, installed: true }, durationMs: 1500n },
        },
      };
    },
    async *prepare({ environment, network, force }) {
      await Promise.resolve();
      if (network) {
        throw asWireError(
          new PyroError("NETWORK_NOT_AVAILABLE", "no network", { hint: "run without --network" }),
        );
      }
      const reused = find(environment).installed === true;
      if (!reused) yield progress("fetch", 50n, 100n);
      yield progress("template", 0n, 0n);
      const what = (there: boolean): string => (there ? "reused" : "made");
      const steps = [
        { name: "environment", what: what(reused), durationMs: 12n },
        { name: "template", what: what(reused && !force), durationMs: 3400n },
      ];
      const value = { environment, reused: reused && !force, steps, durationMs: 3412n };
      yield { event: { case: "result", value } };
    },
    async *push({ name, reference }) {
      await Promise.resolve();
      const { name: environment = "" } = find(name);
      yield progress("pack", 50n, 100n);
      yield progress("upload", 10n, 30n);
      const value = {
        ...{ environment, reference: `${reference}:latest`, digest: `sha256:${"1".repeat(64)}` },
        ...{ sizeBytes: 30_000_000n, uploadedBytes: 20_000_000n, leftOut: 1n, durationMs: 2500n },
      };
      yield { event: { case: "result", value } };
    },
    prune: ({ all, olderThanSeconds }) =>
      all || olderThanSeconds > 0n ? { removed: ["debian:12"], freedBytes: 300_000_000n } : {},
    delete: ({ name }) => {
      find(name);
      return { name, freedBytes: 300_000_000n };
    },
    async *build({ name, run, file }) {
      await Promise.resolve();
      const place = file === undefined ? "--run 1" : `${file.name}:2`;
      const step = { number: 1, total: 1, text: `RUN ${run[0] ?? "make"}`, place, state: "running" };
      yield { event: { case: "step", value: step } };
      yield { event: { case: "output", value: Buffer.from("made \u001b[2J\n") } };
      yield progress("build", 50n, 100n);
      const environment = { ...installed, name, source: "build", description: "built on this host" };
      const warnings = file === undefined ? [] : [`${file.name}:3: LABEL was left out`];
      const value = { environment, stepCount: 1, cachedCount: 0, warnings, durationMs: 2500n };
      yield { event: { case: "result", value } };
    },
  };
}

function progress(phase: string, bytesDone: bigint, bytesTotal: bigint) {
  return {
    event: { case: "progress" as const, value: { phase, bytesDone, bytesTotal, message: `${phase} it` } },
  };
}

function find(name: string): MessageInitShape<typeof EnvironmentSchema> {
  const found = [installed, missing].find((environment) => environment.name === name);
  if (found !== undefined) return found;
  throw asWireError(
    new PyroError("UNKNOWN_ENVIRONMENT", `there is no environment "${name}"`, {
      hint: "run `pyro env list`",
    }),
  );
}

const checks: MessageInitShape<typeof CheckSchema>[] = [
  { name: "qemu", ok: true, message: "QEMU 7.2" },
  { name: "disk", ok: false, message: "1 GB is free", hint: "free some", fix: ["true", "mend-it"] },
];

/** The DoctorService of the fake daemon: one check fails, and names its fix. */
export function fakeDoctor(): ServiceImpl<typeof DoctorService> {
  return {
    async *diagnose({ environment }) {
      await Promise.resolve();
      for (const value of checks) yield { event: { case: "check", value } };
      yield {
        event: {
          case: "report",
          value: {
            ok: false,
            platform: "linux-x64",
            accelerators: [
              { name: "kvm", usable: false, reason: "/dev/kvm cannot be opened" },
              { name: "software", usable: true, reason: "its probe VM booted", bootMs: 2800, chosen: true },
            ],
            qemuVersion: "7.2",
            runtimeVersion: "0.1.0",
            diskFreeBytes: 1_000_000_000n,
            memoryAvailableBytes: 2_000_000_000n,
            environment: environment === "" ? "debian:12" : environment,
            readiness: "cold",
            checks,
          },
        },
      };
    },
  };
}
