import { LIMITS, PyroError } from "../protocol/index.js";
import type { MachineShell } from "./machine-shells.js";

/** Ids begin with this; a prefix may leave it out. */
const ID_PREFIX = "sh-";

/**
 * The shell that a reference means: an id, or a unique prefix of one.
 * @throws {PyroError} SHELL_NOT_FOUND, AMBIGUOUS_REFERENCE
 */
export function findShell(
  reference: string,
  known: readonly MachineShell[],
  workspaceId: string,
): MachineShell {
  const bare = reference.startsWith(ID_PREFIX) ? reference.slice(ID_PREFIX.length) : reference;
  const fits = known.filter(
    ({ shellId }) =>
      shellId === reference || (bare !== "" && shellId.slice(ID_PREFIX.length).startsWith(bare)),
  );
  const [first, ...others] = fits;
  if (first !== undefined && others.length === 0) return first;
  const shown = JSON.stringify(reference.slice(0, 80));
  if (first !== undefined) {
    throw new PyroError("AMBIGUOUS_REFERENCE", `${shown} fits ${fits.length} shells`, {
      hint: `give more of the id: ${fits
        .slice(0, 5)
        .map(({ shellId }) => shellId)
        .join(", ")}`,
    });
  }
  const ids = known.map(({ shellId }) => shellId);
  throw new PyroError("SHELL_NOT_FOUND", `workspace ${workspaceId} has no shell ${shown}`, {
    hint:
      ids.length === 0
        ? `it has none; \`pyro workspace shell open ${workspaceId}\` opens one`
        : `it has ${ids.slice(0, 10).join(", ")}`,
  });
}

/** Shells end with the machine that they are in. */
export function noShells(workspaceId: string, state: string): PyroError {
  return new PyroError(
    "SHELL_NOT_FOUND",
    `workspace ${workspaceId} is ${state}, and its shells have ended with it`,
    {
      hint: `open another one with \`pyro workspace shell open ${workspaceId}\``,
    },
  );
}

/** @throws {PyroError} INVALID_ARGUMENT */
export function requireSize(cols: number, rows: number): { readonly cols: number; readonly rows: number } {
  const fits = cols >= 1 && cols <= LIMITS.shellColsMax && rows >= 1 && rows <= LIMITS.shellRowsMax;
  if (fits) return { cols, rows };
  throw new PyroError("INVALID_ARGUMENT", `a terminal cannot have ${cols} columns and ${rows} rows`, {
    hint: `give 1 to ${LIMITS.shellColsMax} columns and 1 to ${LIMITS.shellRowsMax} rows`,
  });
}

/**
 * A signal's name as the guest knows it.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function requireSignal(name: string): string {
  const full = name.toUpperCase().replace(/^(?!SIG)/, "SIG");
  if (/^SIG[A-Z0-9+-]{1,12}$/.test(full)) return full;
  throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(name.slice(0, 40))} is no signal`, {
    hint: "give a name such as INT, TERM, QUIT, HUP or KILL",
  });
}

/** The program in the foreground reads nothing. */
export function inputFull(shellId: string, taken: number, total: number): PyroError {
  return new PyroError(
    "SHELL_INPUT_FULL",
    `what runs in shell ${shellId} reads no input: ${taken} of ${total} bytes were taken`,
    {
      hint: "wait until it reads, or end it with the signal INT, then write the rest",
      details: { accepted_bytes: taken },
      retryable: false,
    },
  );
}
