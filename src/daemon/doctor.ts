import { statfs } from "node:fs/promises";
import { describeConfiguration, readConfiguration, type Configuration } from "./configuration.js";
import { availableMemory } from "./memory.js";
import type { ToolRemedy } from "../image/index.js";
import { complete, LaunchError, type Directories } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { TemplateReadiness } from "../vmm/index.js";

/** One thing that was proven, or needs mending. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly message: string;
  readonly hint: string;
  /** A command that mends it; empty when there is none. */
  readonly fix: readonly string[];
}

export interface AcceleratorFinding {
  readonly name: "kvm" | "software";
  readonly usable: boolean;
  readonly reason: string;
  readonly bootMs: number;
  readonly chosen: boolean;
}

/** What the doctor asks of the rooms; each may throw a PyroError, which becomes a failed check. */
export interface DoctorSources {
  readonly directories: Directories;
  /** What the daemon read when it started. */
  readonly configuration: Configuration;
  readonly qemuVersion: () => Promise<string>;
  readonly runtimeVersion: () => Promise<string>;
  /** Probes anew, whatever was found before. */
  readonly probeAccelerators: (signal: AbortSignal) => Promise<readonly AcceleratorFinding[]>;
  /** Host tools that no environment is made without and that are missing, and what brings them. */
  readonly missingTools: () => Promise<ToolRemedy & { readonly names: readonly string[] }>;
  /** Whether this host's apt fetches the packages of curated environments; else they are made over an image of a registry. */
  readonly fetchesPackages: (signal: AbortSignal) => Promise<boolean>;
  /** How connections of machines go out, and what machines with a network get of this host. */
  readonly network: () => Promise<string>;
  readonly environment: (name: string) => Promise<{
    readonly installed: boolean;
    readonly downloadBytes: number;
    readonly readiness: TemplateReadiness;
  }>;
}

export interface Report {
  readonly ok: boolean;
  readonly platform: string;
  readonly accelerators: readonly AcceleratorFinding[];
  readonly qemuVersion: string;
  readonly runtimeVersion: string;
  readonly diskFreeBytes: number;
  readonly memoryAvailableBytes: number;
  readonly environment: string;
  readonly readiness: TemplateReadiness;
  readonly checks: readonly Check[];
}

const GIB = 1024 ** 3;
/** An environment being made needs its layers, the unpacked image and the sealed one at once. */
const DISK_NEEDED_BYTES = 4 * GIB;
/** One machine of the default shape, and what QEMU and the daemon take. */
const MEMORY_NEEDED_BYTES = 1.5 * GIB;

/** Proves the host, one check after the other, telling each as soon as it is known. */
export async function diagnose(
  environment: string,
  sources: DoctorSources,
  onCheck: (check: Check) => void,
  signal: AbortSignal,
): Promise<Report> {
  const checks: Check[] = [];
  const add = (check: Partial<Check> & Pick<Check, "name" | "ok" | "message">): void => {
    const whole = { hint: "", fix: [], ...check };
    checks.push(whole);
    onCheck(whole);
  };
  /** A check that fails with what its source throws. */
  const attempt = async <T>(
    name: string,
    source: () => Promise<T>,
    message: (value: T) => string,
  ): Promise<T | undefined> => {
    try {
      const value = await source();
      add({ name, ok: true, message: message(value) });
      return value;
    } catch (thrown) {
      signal.throwIfAborted();
      const error = PyroError.from(thrown);
      add({ name, ok: false, message: error.message, hint: error.hint, fix: fixFor(error) });
      return undefined;
    }
  };

  await attempt(
    "configuration",
    () => readConfiguration(sources.configuration.path),
    (now) => describeConfiguration(sources.configuration, now),
  );
  const supported = process.platform === "linux" && process.arch === "x64";
  const platform = `${process.platform}-${process.arch}, node ${process.version}`;
  add({
    name: "platform",
    ok: supported,
    message: platform,
    hint: supported ? "" : "pyro runs on Linux x86-64; elsewhere use a Linux virtual machine or WSL2",
  });
  const qemuVersion = (await attempt("qemu", sources.qemuVersion, (version) => `QEMU ${version}`)) ?? "";
  const runtimeVersion =
    (await attempt("runtime", sources.runtimeVersion, (version) => `runtime bundle ${version}, verified`)) ??
    "";
  const accelerators =
    qemuVersion === "" || runtimeVersion === "" ? [] : await checkAccelerators(sources, add, signal);
  const diskFreeBytes = await freeBytes(sources.directories.cache);
  add(
    sizeCheck(
      "disk",
      diskFreeBytes,
      DISK_NEEDED_BYTES,
      `free under ${sources.directories.cache}`,
      "`pyro env prune` removes what nothing uses",
    ),
  );
  const memoryAvailableBytes = await availableMemory();
  add(
    sizeCheck(
      "memory",
      memoryAvailableBytes,
      MEMORY_NEEDED_BYTES,
      "available",
      "give machines less with --mem-mib, or end other programs",
    ),
  );
  await checkTools(sources, add, signal);
  await attempt("network", sources.network, (description) => description);
  const readiness = await checkEnvironment(environment, sources, add);
  return {
    ok: checks.every(({ ok }) => ok),
    platform,
    accelerators,
    qemuVersion,
    runtimeVersion,
    diskFreeBytes,
    memoryAvailableBytes,
    environment,
    readiness,
    checks,
  };
}

type Add = (check: Partial<Check> & Pick<Check, "name" | "ok" | "message">) => void;

async function checkAccelerators(
  sources: DoctorSources,
  add: Add,
  signal: AbortSignal,
): Promise<readonly AcceleratorFinding[]> {
  try {
    const found = await sources.probeAccelerators(signal);
    for (const { name, usable, chosen, reason, bootMs } of found) {
      const seen = usable
        ? `works: a probe machine booted in ${bootMs} ms${chosen ? "; chosen" : ""}`
        : `is not used: ${reason}`;
      // A host without hardware help is in order; only a host with no accelerator at all is not.
      const needed = name === "software" && !found.some((other) => other.usable);
      add({
        name: `accelerator ${name}`,
        ok: usable || !needed,
        message: seen,
        hint: usable ? "" : KVM_HINT,
      });
    }
    if (sources.configuration.settings.require_isolation === "kvm") {
      const ok = found.some(({ name, usable }) => name === "kvm" && usable);
      const message = `${sources.configuration.path} requires KVM`;
      add({
        name: "isolation",
        ok,
        message: ok ? message : `${message}: no machine starts on this host`,
        hint: ok ? "" : KVM_HINT,
      });
    }
    return found;
  } catch (thrown) {
    signal.throwIfAborted();
    const error = PyroError.from(thrown);
    add({ name: "accelerator", ok: false, message: error.message, hint: error.hint });
    return [];
  }
}

const KVM_HINT =
  "for hardware speed: enable virtualisation in the firmware (or nested virtualisation in the cloud), and `sudo usermod -aG kvm $USER`, then log in anew";

async function checkTools(sources: DoctorSources, add: Add, signal: AbortSignal): Promise<void> {
  const { names, install, hint } = await sources.missingTools();
  if (names.length > 0) {
    const what = install.length === 0 ? hint : `run: ${hint}`;
    add({ name: "tools", ok: false, message: `missing: ${names.join(", ")}`, hint: what, fix: install });
    return;
  }
  try {
    const how = (await sources.fetchesPackages(signal)) ? "" : `; ${OVER_IMAGE}`;
    add({ name: "tools", ok: true, message: `what makes environments is there${how}` });
  } catch (thrown) {
    signal.throwIfAborted();
    const { message, hint: remedy } = PyroError.from(thrown);
    add({ name: "tools", ok: false, message, hint: remedy });
  }
}

const OVER_IMAGE =
  "no apt of this host fetches Debian's packages: curated ones are made over Debian's image of a registry";

const READINESS: Readonly<Record<TemplateReadiness, string>> = {
  warm: "its machines start from a memory template",
  stale: "its memory template is of another QEMU or runtime, and the next run makes it anew",
  cold: "the next run makes its memory template (`pyro prepare` makes it now)",
};

async function checkEnvironment(
  name: string,
  sources: DoctorSources,
  add: Add,
): Promise<Report["readiness"]> {
  try {
    const { installed, downloadBytes, readiness } = await sources.environment(name);
    const size = Math.round(downloadBytes / 1e6);
    const message = installed
      ? `${name} is here and whole; ${READINESS[readiness]}`
      : `${name} is not here yet; the first run makes it (about ${size} MB)`;
    add({
      name: "environment",
      ok: true,
      message,
      hint: installed ? "" : `\`pyro env pull ${name}\` makes it now`,
    });
    return readiness;
  } catch (thrown) {
    const error = PyroError.from(thrown);
    add({ name: "environment", ok: false, message: error.message, hint: error.hint });
    return "stale";
  }
}

function sizeCheck(name: string, bytes: number, needed: number, what: string, hint: string): Check {
  const ok = bytes >= needed;
  const gib = (value: number): string => `${(value / GIB).toFixed(1)} GiB`;
  const message = ok ? `${gib(bytes)} ${what}` : `${gib(bytes)} ${what}; ${gib(needed)} are needed`;
  return { name, ok, message, hint: ok ? "" : hint, fix: [] };
}

function fixFor(error: PyroError): readonly string[] {
  const fix = error.details["fix"];
  return Array.isArray(fix) && fix.every((word) => typeof word === "string") ? fix : [];
}

async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/**
 * The first line of `program --version`, its version number alone.
 * @throws {PyroError} HOST_TOOL_NOT_FOUND
 */
export async function toolVersion(program: string): Promise<string> {
  try {
    const { stdout } = await complete(program, ["--version"]);
    return /\d+(\.\d+)+/.exec(stdout)?.[0] ?? stdout.trim();
  } catch (error) {
    if (!(error instanceof LaunchError)) throw error;
    throw new PyroError("HOST_TOOL_NOT_FOUND", `${program} is not on this host`, { cause: error });
  }
}
