import { once } from "node:events";
import { launch, baseEnvironment } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { diskFull } from "./host-file.js";
import { checkedTar } from "./seed/index.js";

/**
 * Unpacks a guest's tar into an empty directory of the host that is ours alone. Each entry is checked before the
 * host's tar sees it, which makes links last, so that nothing is written through one. Owners stay behind.
 * @throws {PyroError} EXPORT_FAILED, DISK_FULL, and what the check throws
 */
export async function unpackOnHost(
  data: AsyncIterable<Uint8Array>,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  const args = [
    "-x",
    "-f",
    "-",
    "-C",
    directory,
    "--no-same-owner",
    "--same-permissions",
    "--delay-directory-restore",
  ];
  await using tar = await launch("tar", args, {
    env: { ...baseEnvironment(), LC_ALL: "C" },
    stdin: "pipe",
  });
  const { stdin } = tar;
  if (stdin === null) throw new Error("tar without a standard input");
  // One that leaves early says why by its exit.
  stdin.on("error", () => undefined);
  for await (const chunk of checkedTar("of the guest", data)) {
    signal.throwIfAborted();
    if (stdin.destroyed) break;
    if (!stdin.write(chunk)) await Promise.race([once(stdin, "drain"), tar.exited]);
  }
  stdin.end();
  const { code, stderrTail } = await tar.exited;
  if (code === 0) return;
  // The write that meets the end of the space is short; only the next one says why.
  if (/No space left|Disk quota exceeded|Wrote only \d+ of \d+ bytes/.test(stderrTail))
    throw diskFull(directory, "no space is left");
  const said = stderrTail.trim().split("\n").at(0) ?? "";
  throw new PyroError("EXPORT_FAILED", `unpacking on the host failed: ${said}`, {
    hint: "export a smaller part, or as a file: `tar` it in the guest first",
  });
}
