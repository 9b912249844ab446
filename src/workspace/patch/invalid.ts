import { PyroError } from "../../protocol/index.js";
import { textOf, type ByteString } from "../../kit/index.js";

const SHOWN_CHARACTERS = 120;

/** Where the patch is wrong: its line (from 1), what stands there, and what to do instead. */
export function invalidPatch(line: number, text: ByteString, problem: string, hint: string): PyroError {
  const shown = textOf(text).slice(0, SHOWN_CHARACTERS);
  return new PyroError("PATCH_INVALID", `line ${line} of the patch: ${problem}: ${JSON.stringify(shown)}`, {
    hint,
    details: { line, text: shown, problem },
  });
}
