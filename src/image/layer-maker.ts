import type { AptSource } from "./sources.js";
import type { InstalledImage } from "./status.js";

/** A command in a machine whose root lies over an image, and which writes a layer. */
export interface LayerRequest {
  readonly image: InstalledImage;
  /** qcow2 files over the image, the lowest first; nobody writes to them. */
  readonly below: readonly string[];
  /** Where what is written goes: a new qcow2 file. */
  readonly target: string;
  /** A tar that is unpacked under / first. */
  readonly files?: string;
  readonly argv: readonly string[];
  /** Lets the machine out to the internet, and to these mirrors wherever they are. Without it there is no network. */
  readonly network?: { readonly mirrors: readonly AptSource[] };
  /** What the command prints. */
  readonly onOutput: (chunk: { readonly stream: "stdout" | "stderr"; readonly data: Uint8Array }) => void;
  readonly signal: AbortSignal;
}

/** How the command ended. The target is whole where it ended with 0, else it is good for nothing. */
export interface LayerResult {
  /** Null where a signal or its time ended it. */
  readonly exitCode: number | null;
  /** "exit 1" and the like, for messages. */
  readonly how: string;
  /** Why it was last kept from reaching something, and what would let it; undefined where it never was. */
  readonly refusal?: { readonly reason: string; readonly hint: string };
}

/** Makes layers in machines; compose.ts fills this in. No machine is left when a call is over, however it ends. */
export interface LayerMaker {
  /** @throws {PyroError} what a start throws and what a machine dies of; DISK_FULL */
  make(request: LayerRequest): Promise<LayerResult>;
  /** Keeps an image from being removed until the result is disposed of. */
  hold(digest: string): Disposable;
}
