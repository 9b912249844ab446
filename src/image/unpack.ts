import { failpoint, sealFile, type Logger } from "../kit/index.js";
import type { ImageBuild, ImageBuilder } from "./builder.js";
import { requireSpace } from "./host-tools.js";
import { isPhaseFile, recordPhaseFile, type PhaseFile } from "./phase-file.js";
import type { PullPlace } from "./pull-place.js";
import { phaseFileSchema } from "./record.js";
import { UNPACKED } from "./sweep.js";

export interface FillRequest extends Pick<ImageBuild, "files" | "layers" | "steps"> {
  readonly place: PullPlace;
  readonly builder: ImageBuilder;
  readonly logger: Logger;
  readonly onProgress: (bytesDone: number, bytesTotal: number, message: string) => void;
  readonly signal: AbortSignal;
}

interface UnpackRequest extends FillRequest {
  /** About what is written, for the check of free space. */
  readonly neededBytes: number;
  /** Digest of all that goes in: an earlier result of the same is taken as it is. */
  readonly inputs: string;
}

/**
 * Unpacks layers into a disk in a builder VM, unless an earlier pull has done it.
 * @returns the path of the image
 * @throws {PyroError} DISK_FULL; what the builder throws
 */
export async function unpackLayers(request: UnpackRequest): Promise<string> {
  const { place, inputs, neededBytes } = request;
  if (await isUnpacked(place, inputs)) return unpackedDisk(place);
  await requireSpace(place.directory, neededBytes, "unpacking the image");
  await fillDisk(request);
  return await keepUnpacked(place, inputs);
}

/**
 * Unpacks layers into a new disk in a builder VM; what an earlier pull unpacked is gone then. Nothing says yet what it holds.
 * @throws {PyroError} what the builder throws
 */
export async function fillDisk(request: FillRequest): Promise<void> {
  const { place, builder, logger, signal, onProgress } = request;
  signal.throwIfAborted();
  const disk = unpackedDisk(place);
  await place.forget("unpacked");
  await builder.makeDisk(disk);
  onProgress(0, 0, "starting the builder VM");
  const output = new TextDecoder();
  await builder.build({
    files: request.files,
    layers: request.layers,
    target: disk,
    steps: request.steps,
    onProgress: ({ phase, bytesDone, bytesTotal }) =>
      onProgress(bytesDone, bytesTotal, phase === "unpack" ? phase : "configuring"),
    onOutput: (chunk) => {
      const text = output.decode(chunk, { stream: true });
      logger.info("image.build-output", { directory: place.directory, text });
      const step = lastStep(text);
      if (step !== undefined) onProgress(0, 0, step);
    },
    signal,
  });
  signal.throwIfAborted();
}

/** Says what the disk was filled with, for this pull and the next; gives its path. */
export async function keepUnpacked(place: PullPlace, inputs: string): Promise<string> {
  const disk = unpackedDisk(place);
  // As the image will be: as root, QEMU had it under a uid of its own.
  await sealFile(disk);
  failpoint("pull.unpacked");
  await recordPhaseFile(unpacked(place, inputs));
  return disk;
}

/** Whether any pull has unpacked anything here. */
export async function hasUnpacked(place: PullPlace): Promise<boolean> {
  return (await place.read("unpacked", phaseFileSchema)) !== undefined;
}

/** The disk that layers are unpacked into. */
export function unpackedDisk(place: PullPlace): string {
  return place.path(UNPACKED);
}

/** Whether an earlier pull has unpacked these inputs. */
export async function isUnpacked(place: PullPlace, inputs: string): Promise<boolean> {
  return await isPhaseFile(unpacked(place, inputs));
}

function unpacked(place: PullPlace, inputs: string): PhaseFile {
  return { place, phase: "unpacked", path: unpackedDisk(place), inputs };
}

/** The last thing that dpkg says it is doing; the rest of its output is for the log. */
export function lastStep(text: string): string | undefined {
  return [...text.matchAll(/^(?:Unpacking|Setting up|Processing triggers for) [^\n(]*/gm)].at(-1)?.[0].trim();
}
