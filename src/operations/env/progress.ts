import type { PullProgress } from "../../sdk/index.js";
import { formatBytes } from "../text.js";

/** How far a pull is, for people. */
export function pullProgress({ phase, message, bytesDone, bytesTotal }: PullProgress): {
  readonly message: string;
  readonly fraction: number | null;
} {
  const size = bytesTotal > 0 ? ` ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}` : "";
  const text = message === "" ? phase : message;
  return { message: `${text}${size}`, fraction: bytesTotal > 0 ? bytesDone / bytesTotal : null };
}
