import type { PyroError } from "../../protocol/index.js";
import type { Pyro } from "../../sdk/index.js";

/** Bytes that one read of a file asks for. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/**
 * A file from its beginning to its end, window by window.
 * @throws {PyroError} GUEST_FILE_NOT_FOUND, GUEST_FILE_REFUSED
 */
export async function* fileWindows(
  pyro: Pyro,
  workspaceId: string,
  path: string,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for (let offset = 0; ;) {
    const options = { workspaceId, path, offset, maxBytes: WINDOW_BYTES };
    const { data, truncated } = await pyro.readWorkspaceFile(options, { signal });
    if (data.length > 0) yield data;
    offset += data.length;
    if (!truncated || data.length === 0) return;
  }
}

/** A whole file in memory. */
export async function wholeFile(...args: Parameters<typeof fileWindows>): Promise<Uint8Array> {
  const windows: Uint8Array[] = [];
  for await (const window of fileWindows(...args)) windows.push(window);
  return Buffer.concat(windows);
}

/** What `work` gives, or `null` where the guest has no such file. */
export async function nullIfMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    // By the code: a program may have this package twice.
    if ((error as Partial<PyroError>).code === "GUEST_FILE_NOT_FOUND") return null;
    throw error;
  }
}
