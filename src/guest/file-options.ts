import { checkPath, type GuestBytes } from "../protocol/index.js";

/** What calls about files take. */
export interface FileOptions {
  readonly signal?: AbortSignal;
  /** Directory of the guest that all paths must lie beneath, links followed; the whole root when left out. */
  readonly within?: GuestBytes;
}

/** As Connect's clients want it. */
export function signalOf(options: Pick<FileOptions, "signal">): { signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal };
}

/** The directory that a call is bound to; empty for the whole root. */
export function withinOf(options: Pick<FileOptions, "within">): Uint8Array {
  return options.within === undefined ? new Uint8Array(0) : checkPath(options.within, "the directory of the call");
}
