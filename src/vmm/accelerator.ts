import { constants } from "node:fs";
import { access, mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as z from "zod";
import { hostBoot, readJsonFile, writeFileAtomic } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { Isolation } from "./driver.js";

/** What is known of one accelerator. */
interface AcceleratorFinding {
  readonly name: Isolation;
  readonly usable: boolean;
  /** Why not, or what the verdict rests on; one sentence part, safe to show. */
  readonly reason: string;
  /** What the probe machine took to its agent's hello; absent where none booted. */
  readonly bootMs?: number;
}

export interface AcceleratorVerdict {
  readonly chosen: Isolation;
  /** In order of preference. */
  readonly accelerators: readonly AcceleratorFinding[];
}

/**
 * Boots the real runtime to the agent's hello and ends it. Less proves nothing: there are hosts where /dev/kvm opens,
 * vCPUs are created, and a stock kernel then hangs for ever.
 * @throws {PyroError} VM_BOOT_TIMEOUT where `timeoutMs` passed; any other code is a verdict at once
 */
export type BootProbe = (
  isolation: Isolation,
  options: { readonly signal: AbortSignal; readonly timeoutMs: number },
) => Promise<{ readonly bootMs: number }>;

export interface AcceleratorOptions {
  readonly bootProbe: BootProbe;
  /** What the driver can do (VmmCapabilities.isolations). */
  readonly isolations: readonly Isolation[];
  /** Where the verdict is kept. */
  readonly cacheDirectory: string;
  /** The verdict holds for this QEMU and this bundle, until the host boots anew. */
  readonly qemuVersion: string;
  readonly bundleDigest: string;
  /** Probes everything anew, emulation too; for `pyro doctor`. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  /** For tests. */
  readonly kvmDevice?: string;
  readonly bootIdFile?: string;
}

/** A KVM guest is at its agent in half a second; the second chance is for a busy host. */
const KVM_TIMEOUTS_MS = [5_000, 15_000] as const;
/** Emulation needs 2 to 3 s on a quiet host. */
const SOFTWARE_TIMEOUTS_MS = [60_000] as const;

/**
 * Chooses the accelerator: KVM where a probe machine boots with it, else software emulation. The verdict is cached per
 * boot of the host. Emulation is probed only on demand, since nothing else is left to choose.
 * @throws {PyroError} NO_ACCELERATOR when none works
 */
export async function chooseAccelerator(options: AcceleratorOptions): Promise<AcceleratorVerdict> {
  const cache = join(options.cacheDirectory, "accelerator.json");
  const key = await verdictKey(options);
  if (options.force !== true) {
    const known = cachedVerdict(await readJsonFile(cache).catch(() => undefined), key);
    if (known !== undefined) return known;
  }
  const accelerators: AcceleratorFinding[] = [];
  for (const name of ["kvm", "software"] as const) {
    accelerators.push(await examine(name, accelerators, options));
  }
  const chosen = accelerators.find(({ usable }) => usable);
  if (chosen === undefined) throw noneWorks(accelerators);
  const verdict = { chosen: chosen.name, accelerators };
  await remember(cache, key, verdict);
  return verdict;
}

async function examine(
  name: Isolation,
  before: readonly AcceleratorFinding[],
  options: AcceleratorOptions,
): Promise<AcceleratorFinding> {
  if (!options.isolations.includes(name)) return { name, usable: false, reason: "the VMM cannot use it" };
  if (name === "software") {
    if (options.force === true) return await probe(name, SOFTWARE_TIMEOUTS_MS, options);
    const needed = before.every(({ usable }) => !usable);
    return { name, usable: true, reason: needed ? "needs nothing of the host" : "not needed" };
  }
  const closed = await whyKvmIsClosed(options.kvmDevice ?? "/dev/kvm");
  if (closed !== undefined) return { name, usable: false, reason: closed };
  return await probe(name, KVM_TIMEOUTS_MS, options);
}

/** Why this process, or the unprivileged user that it starts QEMU as, cannot open the device; undefined when it can. */
async function whyKvmIsClosed(device: string): Promise<string | undefined> {
  try {
    await access(device, constants.R_OK | constants.W_OK);
    const { mode, uid, gid } = await stat(device);
    if (process.getuid?.() !== 0 || (mode & 0o060) === 0o060 || (mode & 0o006) === 0o006) return undefined;
    const bits = (mode & 0o777).toString(8).padStart(4, "0");
    return `${device} (mode ${bits}, owner ${uid}:${gid}) is closed to the unprivileged user that QEMU runs as; \`chgrp kvm ${device} && chmod 0660 ${device}\` opens it`;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "?";
    return code === "ENOENT" ? `${device} is missing` : `${device} cannot be opened (${code})`;
  }
}

async function probe(
  name: Isolation,
  timeouts: readonly number[],
  options: AcceleratorOptions,
): Promise<AcceleratorFinding> {
  const signal = options.signal ?? new AbortController().signal;
  let reason = "";
  for (const timeoutMs of timeouts) {
    signal.throwIfAborted();
    try {
      const { bootMs } = await options.bootProbe(name, { signal, timeoutMs });
      return { name, usable: true, reason: "a probe machine booted", bootMs };
    } catch (thrown) {
      signal.throwIfAborted();
      const error = PyroError.from(thrown);
      if (hostFault.has(error.code)) throw error;
      reason =
        error.code === "VM_BOOT_TIMEOUT"
          ? `a probe machine started and hung: no sign of its agent within ${timeoutMs / 1000} s`
          : `a probe machine failed: ${error.message}`;
      if (error.code !== "VM_BOOT_TIMEOUT") break;
    }
  }
  return { name, usable: false, reason };
}

/** These say nothing about an accelerator. */
const hostFault: ReadonlySet<string> = new Set([
  "QEMU_NOT_FOUND",
  "HOST_TOOL_NOT_FOUND",
  "RUNTIME_BUNDLE_MISSING",
  "RUNTIME_BUNDLE_DAMAGED",
  "DISK_FULL",
  "STATE_NOT_WRITABLE",
  "TOO_MANY_FILES",
]);

const verdictSchema = z.object({
  key: z.string(),
  chosen: z.enum(["kvm", "software"]),
  accelerators: z.array(
    z.object({
      name: z.enum(["kvm", "software"]),
      usable: z.boolean(),
      reason: z.string(),
      bootMs: z.number().optional(),
    }),
  ),
});

function cachedVerdict(value: unknown, key: string): AcceleratorVerdict | undefined {
  const { success, data } = verdictSchema.safeParse(value);
  if (!success || data.key !== key) return undefined;
  const accelerators = data.accelerators.map(({ bootMs, ...finding }) => ({
    ...finding,
    ...(bootMs === undefined ? {} : { bootMs }),
  }));
  return { chosen: data.chosen, accelerators };
}

/** Everything the verdict depends on. The device's mode and owner too: a mended permission is noticed at once. */
async function verdictKey(options: AcceleratorOptions): Promise<string> {
  const boot = (await hostBoot(options.bootIdFile)) ?? "";
  const closed = await whyKvmIsClosed(options.kvmDevice ?? "/dev/kvm");
  return JSON.stringify([
    1,
    boot,
    options.qemuVersion,
    options.bundleDigest,
    options.isolations,
    closed ?? "",
  ]);
}

/** A verdict that cannot be kept is found again next time. */
async function remember(path: string, key: string, verdict: AcceleratorVerdict): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFileAtomic(path, JSON.stringify({ key, ...verdict }, null, 2));
  } catch {
    // Nothing to do: a read-only or full disk is told by those who need it.
  }
}

function noneWorks(accelerators: readonly AcceleratorFinding[]): PyroError {
  const reasons = accelerators.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
  return new PyroError("NO_ACCELERATOR", `no machine boots on this host (${reasons})`, {
    hint: "`pyro doctor` shows each step; `pyro daemon logs` has the console of the probe machines",
    details: { accelerators: accelerators.map((finding) => ({ ...finding })) },
  });
}
