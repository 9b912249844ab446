import { failpoint, sealFile, type Logger } from "../kit/index.js";
import type { ImageBuild, ImageBuilder } from "./builder.js";
import { requireSpace } from "./host-tools.js";
import { isPhaseFile, recordPhaseFile, type PhaseFile } from "./phase-file.js";
import type { PullPlace } from "./pull-place.js";
import { UNPACKED } from "./sweep.js";

interface EmptyDiskRequest {
  readonly place: PullPlace;
  readonly builder: ImageBuilder;
}

export interface UnpackRequest extends EmptyDiskRequest, Pick<ImageBuild, "files" | "layers" | "steps"> {
  /** About what is written, for the check of free space. */
  readonly neededBytes: number;
  /** What `makeEmptyDisk` gave, where that was called ahead. */
  readonly emptyDisk?: Promise<string>;
  readonly logger: Logger;
  /** Digest of all that goes in: an earlier result of the same is taken as it is. */
  readonly inputs: string;
  readonly onProgress: (bytesDone: number, bytesTotal: number, message: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Makes the disk that layers are unpacked into; what an earlier pull unpacked is gone then.
 * @returns the path of the image
 * @throws the system's error, or what the runtime bundle throws
 */
export async function makeEmptyDisk({ place, builder }: EmptyDiskRequest): Promise<string> {
  const disk = place.path(UNPACKED);
  await place.forget("unpacked");
  await builder.makeDisk(disk);
  return disk;
}

/**
 * Unpacks layers into a disk in a builder VM, unless an earlier pull has done it.
 * @returns the path of the image
 * @throws {PyroError} what the builder throws, and as `makeEmptyDisk`
 */
export async function unpackLayers(request: UnpackRequest): Promise<string> {
  const { place, builder, logger, inputs, signal, onProgress } = request;
  // Who made the disk ahead has looked.
  if (request.emptyDisk === undefined) {
    if (await isUnpacked(place, inputs)) return place.path(UNPACKED);
    await requireSpace(place.directory, request.neededBytes, "unpacking the image");
  }
  const disk = await (request.emptyDisk ?? makeEmptyDisk(request));
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
  // As the image will be: as root, QEMU had it under a uid of its own.
  await sealFile(disk);
  failpoint("pull.unpacked");
  await recordPhaseFile(unpacked(place, inputs));
  return disk;
}

/** Whether an earlier pull has unpacked these inputs. */
export async function isUnpacked(place: PullPlace, inputs: string): Promise<boolean> {
  return await isPhaseFile(unpacked(place, inputs));
}

function unpacked(place: PullPlace, inputs: string): PhaseFile {
  return { place, phase: "unpacked", path: place.path(UNPACKED), inputs };
}

/** The last thing that dpkg says it is doing; the rest of its output is for the log. */
export function lastStep(text: string): string | undefined {
  return [...text.matchAll(/^(?:Unpacking|Setting up|Processing triggers for) [^\n(]*/gm)].at(-1)?.[0].trim();
}
