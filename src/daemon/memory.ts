import { readFile } from "node:fs/promises";
import { freemem } from "node:os";
import { PyroError } from "../protocol/index.js";

/** What is left free when a machine gets a memory of its own. */
const SPARE_BYTES = 128 * 1024 ** 2;

/** What the kernel says can be had without swapping, in bytes. */
export async function availableMemory(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kib === undefined ? freemem() : Number(kib) * 1024;
}

/**
 * Whether the host has room for so much more memory in use.
 * @throws {PyroError} MEMORY_FULL
 */
export async function requireMemory(bytes: number): Promise<void> {
  const available = await availableMemory();
  if (available >= bytes + SPARE_BYTES) return;
  const mib = (count: number): number => Math.round(count / 1024 ** 2);
  throw new PyroError(
    "MEMORY_FULL",
    `this host has ${mib(available)} MiB of memory left, and ${mib(bytes)} are needed`,
    { hint: "stop a workspace or another program, then try again", retryable: true },
  );
}
