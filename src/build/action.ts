import { posix } from "node:path";
import { shown } from "../kit/index.js";
import { invalidRecipe, type Instruction, type Place } from "./recipe.js";

/** What a step does to the files below it. All that its result depends on stands here. */
export type Action =
  | {
      readonly kind: "run";
      readonly argv: readonly string[];
      /** "NAME=value": of the base, of ENV, and of ARG. */
      readonly env: readonly string[];
    }
  | {
      readonly kind: "copy";
      readonly sources: readonly string[];
      /** Absolute; a "/" at its end, or several sources, make it a directory. */
      readonly destination: string;
      readonly uid: number;
      readonly gid: number;
      readonly mode?: number;
    }
  /** The directory in force is made where it is missing, and nothing else. */
  | { readonly kind: "directory" };

/** @throws {PyroError} BUILD_FILE_INVALID */
export function copyOf(
  { place, sources, destination, owner, mode }: Extract<Instruction, { kind: "copy" }>,
  known: ReadonlyMap<string, string>,
  cwd: string,
): Action {
  const to = pathOf(place, destination(known));
  requireOnDisk(place, absolute(cwd, to));
  const isDirectory = /(?:^|\/)\.{0,2}$/.test(to) || sources.length > 1;
  const path = absolute(cwd, to);
  return {
    kind: "copy",
    sources: sources.map((source) => withoutNul(place, source(known))),
    destination: isDirectory && path !== "/" ? `${path}/` : path,
    ...ownerOf(place, owner?.(known)),
    ...modeOf(place, mode?.(known)),
  };
}

/** File systems of the machine itself, of which nothing stays. */
const NOT_ON_DISK = ["/dev", "/proc", "/run", "/sys"];

function requireOnDisk(place: Place, path: string): void {
  const top = NOT_ON_DISK.find((each) => path === each || path.startsWith(`${each}/`));
  if (top === undefined) return;
  throw invalidRecipe(
    place,
    `nothing stays in ${top}: it is the machine's own`,
    "copy it to another directory",
  );
}

/** Names are the image's to look up: numbers alone are the same everywhere. */
function ownerOf(place: Place, text: string | undefined): { uid: number; gid: number } {
  if (text === undefined || text === "root" || text === "root:root") return { uid: 0, gid: 0 };
  const [, uid, gid = uid] = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text) ?? [];
  if (uid !== undefined && Math.max(Number(uid), Number(gid)) < 2 ** 32 - 1) {
    return { uid: Number(uid), gid: Number(gid) };
  }
  throw invalidRecipe(
    place,
    `the owner ${shown(text)} is not given in numbers`,
    "write --chown=UID:GID, or RUN chown after it",
  );
}

function modeOf(place: Place, text: string | undefined): { mode?: number } {
  if (text === undefined) return {};
  if (/^[0-7]{3,4}$/.test(text)) return { mode: Number.parseInt(text, 8) };
  throw invalidRecipe(
    place,
    `${shown(text)} are no permission bits`,
    "write three or four octal digits: --chmod=755",
  );
}

export function pathOf(place: Place, text: string): string {
  if (text === "") throw invalidRecipe(place, "a path is empty", "does it use a variable without a value?");
  return withoutNul(place, text);
}

export function withoutNul(place: Place, text: string): string {
  if (!text.includes("\0")) return text;
  throw invalidRecipe(place, "it holds a NUL byte", "take that out");
}

export function absolute(from: string, path: string): string {
  return posix.resolve("/", from, path);
}
