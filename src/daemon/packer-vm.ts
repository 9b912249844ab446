import { join } from "node:path";
import type { GuestConnection } from "../guest/index.js";
import type { ImagePacker } from "../image/index.js";
import type { PackImageResponse } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { PyroError } from "../protocol/index.js";
import { inBuilder, type BuilderMachine } from "./builder-vm.js";
import type { Overlays } from "./overlay.js";

/** In the machine's own directory: a journal that has to be played back is written there, and the image never. */
const SCRATCH_LAYER = "scratch.qcow2";
const DEVICE = "/dev/vda";

type PackedTree = Parameters<Parameters<ImagePacker["pack"]>[1]>[0];
type PackResult = Awaited<ReturnType<ImagePacker["pack"]>>;

/** Reads images inside a machine: a file system that a guest wrote is never mounted by the host. */
export function packerVm(machine: Omit<BuilderMachine, "disks">, overlays: Overlays): ImagePacker {
  return {
    pack: async ({ image, leaveOutEmpty, signal }, take) => {
      const disks = async (directory: string) => [
        await overlays.make({ path: image, format: "qcow2" }, join(directory, SCRATCH_LAYER)),
      ];
      return await inBuilder({ ...machine, disks }, signal, (guest) =>
        pack(guest, leaveOutEmpty, signal, take),
      );
    },
  };
}

async function pack(
  guest: GuestConnection,
  leaveOutEmpty: readonly string[],
  signal: AbortSignal,
  take: (tree: PackedTree) => Promise<void>,
): Promise<PackResult> {
  const request = { device: DEVICE, leaveOutEmpty: [...leaveOutEmpty] };
  const messages = guest.builder.packImage(request, { signal })[Symbol.asyncIterator]();
  const first = await messages.next();
  if (first.done === true || first.value.data.length > 0) throw broken("no size before its tar");
  const ended: { result?: PackResult } = {};
  await take({ usedBytes: Number(first.value.usedBytes), tar: bytesOf(messages, ended) });
  if (ended.result === undefined) throw broken("no result behind its tar");
  return ended.result;
}

async function* bytesOf(
  messages: AsyncIterator<PackImageResponse>,
  ended: { result?: PackResult },
): AsyncGenerator<Uint8Array> {
  for await (const { data, result } of { [Symbol.asyncIterator]: () => messages }) {
    if (ended.result !== undefined) throw broken("more behind its result");
    if (result !== undefined) {
      ended.result = { entryCount: Number(result.entryCount), leftOut: Number(result.leftOut) };
    } else yield data;
  }
  // Half a tar is none: what is written of it is not to be taken for whole.
  if (ended.result === undefined) throw broken("no result behind its tar");
}

function broken(what: string): PyroError {
  return new PyroError("GUEST_PROTOCOL_ERROR", `the builder sent ${what}`, {
    hint: "try again; if it stays, reinstall pyro: its runtime bundle may be damaged",
  });
}
