import { LIMITS, PyroError } from "../../protocol/index.js";
import { byteString, type ByteString } from "../../kit/index.js";
import { invalidPatch } from "./invalid.js";

const BYTE_ORDER_MARK = /^\xef\xbb\xbf/;
const FENCE = /^\s*(?:```|~~~)/;
/** Lines that may stand between files: what git, diff, mail and our own diff put there. */
const BETWEEN = /^(?:$|# |#$|diff |Index: |=+$|Only in |From [0-9a-f]{40} |-- ?$)/;

/** A patch as lines, and where in it a hunk cannot go on. */
export class PatchText {
  readonly lines: readonly ByteString[];
  /** The text holds ``` fences, as models write them around code. */
  readonly fenced: boolean;

  /**
   * A patch whose first header ends in CRLF was converted as a whole on its way: its carriage returns say nothing
   * about the files and are dropped.
   * @throws {PyroError} PATCH_INVALID
   */
  constructor(patch: string | Uint8Array) {
    const bytes = typeof patch === "string" ? Buffer.from(patch, "utf8") : patch;
    if (bytes.length > LIMITS.patchBytes) {
      throw new PyroError(
        "PATCH_INVALID",
        `the patch is ${bytes.length} bytes; at most ${LIMITS.patchBytes} are read`,
        {
          hint: "apply it in parts, or push large files with `pyro workspace sync push`",
          details: { bytes: bytes.length },
        },
      );
    }
    const lines = byteString(bytes).replace(BYTE_ORDER_MARK, "").split("\n");
    if (lines.at(-1) === "") lines.pop();
    const converted = lines.find((line) => /^(?:diff |--- |\+\+\+ |@@)/.test(line))?.endsWith("\r") ?? false;
    this.lines = converted ? lines.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line)) : lines;
    this.fenced = lines.some((line) => FENCE.test(line));
    const nul = this.lines.findIndex((line) => line.includes("\0"));
    if (nul >= 0) {
      throw invalidPatch(
        nul + 1,
        this.lines[nul] ?? "",
        "a NUL byte",
        "binary content cannot be patched; write the file instead",
      );
    }
  }

  /** `--- old` and `+++ new`, with a hunk behind them or nothing. */
  isFilePair(at: number): boolean {
    const [first, second] = [this.lines[at], this.lines[at + 1]];
    return (
      first !== undefined && second !== undefined && first.startsWith("--- ") && second.startsWith("+++ ")
    );
  }

  isFence(at: number): boolean {
    return this.fenced && FENCE.test(this.lines[at] ?? "");
  }

  /** The signature under a mail of `git format-patch`: "-- ", a version, nothing more. */
  isSignature(at: number): boolean {
    if (!/^-- ?$/.test(this.lines[at] ?? "")) return false;
    const rest = this.lines.slice(at + 1, at + 6).filter((line) => line !== "");
    return rest.length === 1 && /^\d+(?:\.\w+)+/.test(rest[0] ?? "");
  }

  /** What may stand between the hunks of one file and the header of the next. */
  isBetween(at: number): boolean {
    return BETWEEN.test(this.lines[at] ?? "") || this.isFence(at) || this.isSignature(at);
  }

  /** Whether no hunk goes on at this line. */
  endsHunk(at: number): boolean {
    const line = this.lines[at];
    if (line === undefined || line.startsWith("@@")) return true;
    // An empty line may be context; a removed line "-- a/x" looks like half a header, hence the pair.
    return line !== "" && line !== "--" && line !== "-- "
      ? this.isFilePair(at) || this.isBetween(at)
      : this.isSignature(at);
  }
}
