import { chmod, rm } from "node:fs/promises";
import { join } from "node:path";
import { downloadFile, listFiles } from "../guest/index.js";
import { imagePath, type ImageLayout } from "../image/index.js";
import { complete, syncFile } from "../kit/index.js";
import { DEFAULT_MACHINE, LIMITS, PyroError } from "../protocol/index.js";
import type { DiskLayer, Isolation } from "../vmm/index.js";
import type { DiskReader, WorkspaceDisks } from "../workspace/index.js";
import { EMPTY_SLOT, MACHINE_DISK_BYTES } from "./disks.js";
import type { ImagesInUse } from "./images-in-use.js";
import type { Overlays } from "./overlay.js";
import type { Templates } from "./templates.js";
import { activeLayer } from "./workspace-disk.js";

export interface DiskReadersOptions extends Pick<WorkspaceDisks, "claim"> {
  readonly templates: Templates;
  readonly overlays: Overlays;
  readonly inUse: ImagesInUse;
  readonly layout: ImageLayout;
  readonly isolation: (signal: AbortSignal) => Promise<Isolation>;
}

/** In the reader's own directory: what mounting the disk writes to it is thrown away with the machine. */
const SCRATCH_LAYER = "scratch.qcow2";

/** The device that the reader mounts. */
const DEVICE = "/dev/vda";

/** Disks that no machine runs on. A guest's file system is only ever mounted by another guest. */
export function workspaceDisks(options: DiskReadersOptions): WorkspaceDisks {
  const { templates, overlays, inUse, layout, isolation } = options;
  const chainOf = (layers: Parameters<WorkspaceDisks["open"]>[0]): DiskLayer =>
    activeLayer(layers, imagePath(layout, layers.imageDigest));
  return {
    open: async (layers, signal): Promise<DiskReader> => {
      const held = inUse.hold(layers.imageDigest);
      try {
        // As root the reader runs as another user than the machine that wrote it; the directory above stays ours alone.
        await chmod(layers.active, 0o644);
        const booted = await templates.start(
          {
            ...DEFAULT_MACHINE,
            ...{ kind: "sandbox", diskBytes: MACHINE_DISK_BYTES, isolation: await isolation(signal) },
            disks: async (directory) => [
              await overlays.make(chainOf(layers), join(directory, SCRATCH_LAYER)),
              EMPTY_SLOT,
            ],
          },
          signal,
        );
        const close = async (): Promise<void> => {
          await booted[Symbol.asyncDispose]();
          await chmod(layers.active, 0o600).catch(() => undefined);
          held[Symbol.dispose]();
        };
        try {
          // No identity and no /workspace: nothing is started there, and what is read is as it was left.
          await booted.guest.system.mountRoot(
            { device: DEVICE, filesystem: "ext4", createWorkspace: false },
            { signal, timeoutMs: LIMITS.agentCallTimeoutMs },
          );
        } catch (error) {
          await close();
          throw error;
        }
        return {
          list: async (path, { recursive, maxEntries }) => {
            const listing = await listFiles(booted.guest, path, { recursive, maxEntries, signal });
            return { entries: listing.entries, truncated: listing.isTruncated };
          },
          read: async (path, { offset, maxBytes }) =>
            await downloadFile(booted.guest, path, { offset, maxBytes, signal }),
          [Symbol.asyncDispose]: close,
        };
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
    },
    claim: options.claim,
    copy: async (layers, path, signal) => {
      using _held = inUse.hold(layers.imageDigest);
      await convert(chainOf(layers), path, signal);
    },
    check,
  };
}

/** Exit codes of `qemu-img check` (its manual) for a file without errors: whole, or only with space that nothing uses. */
const WHOLE = new Set([0, 3]);

async function check(path: string, signal: AbortSignal): Promise<string | undefined> {
  // By itself: what lies below it is checked by itself too.
  const source = `json:${JSON.stringify(imageOptions({ path, format: "qcow2" }))}`;
  const { code, stdout, stderrTail } = await complete("qemu-img", ["check", "-q", source], { signal });
  if (code !== null && WHOLE.has(code)) return undefined;
  const [reason = ""] = `${stderrTail}\n${stdout}`.trim().split("\n");
  const shown = reason.replace(/^qemu-img: /, "").replace(/'?json:\{.*\}'?/, "its file");
  return shown === "" ? "qemu-img finds errors in its tables" : shown;
}

/**
 * A chain as one raw file; what holds zeros becomes a hole. Every format is stated: a guest may have written the header
 * of another onto its disk, whose names qemu-img would follow.
 */
async function convert(chain: DiskLayer, path: string, signal: AbortSignal): Promise<void> {
  const source = `json:${JSON.stringify(imageOptions(chain))}`;
  try {
    const { code, stderrTail } = await complete("qemu-img", ["convert", "-q", "-O", "raw", source, path], {
      signal,
    });
    if (code !== 0) throw notCopied(stderrTail.trim());
    await syncFile(path);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** A layer and all below it, as QEMU's block layer takes them; what a header says of what lies below is not followed. */
function imageOptions({ path, format, backing }: DiskLayer): Readonly<Record<string, unknown>> {
  return {
    driver: format,
    file: { driver: "file", filename: path },
    ...(format === "qcow2" ? { backing: backing === undefined ? null : imageOptions(backing) } : {}),
  };
}

function notCopied(reason: string): PyroError {
  const full = /No space left|Disk quota/i.test(reason);
  return new PyroError(full ? "DISK_FULL" : "EXPORT_FAILED", `the disk cannot be copied: ${reason}`, {
    hint: full ? "free some space there, or name a path on another disk" : "`pyro doctor` examines this host",
    retryable: full,
    ...(full ? { details: { why: "no space is left" } } : {}),
  });
}
