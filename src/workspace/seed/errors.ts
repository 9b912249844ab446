import { PyroError } from "../../protocol/index.js";
import { shown } from "./path.js";

/** The name of a system error: "ENOENT". */
export function errnoOf(error: unknown): string {
  return (error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined) ?? "";
}

/** Errors that mean: what was there a moment ago is gone, or is something else. */
const GONE: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENXIO", "ESTALE"]);

/** The source was changed while it was read, so that what was read is no state it ever had. */
export function seedChanged(path: string, how: string, cause?: unknown): PyroError {
  return new PyroError("SEED_CHANGED", `${shown(path)} ${how} while the seed was read`, {
    hint: "try again when nothing writes to it; or seed a copy of it",
    details: { path: Buffer.from(path, "latin1").toString("utf8") },
    retryable: true,
    cause,
  });
}

/** What an operation on a file of the source threw, as an error that names the file. */
export function sourceError(path: string, error: unknown): PyroError {
  if (error instanceof PyroError) return error;
  const errno = errnoOf(error);
  if (GONE.has(errno)) return seedChanged(path, "vanished or became something else", error);
  // The limit of open files has an error of its own.
  if (errno === "EMFILE" || errno === "ENFILE") return PyroError.from(error);
  const denied = errno === "EACCES" || errno === "EPERM";
  return new PyroError(
    "SEED_UNREADABLE",
    `cannot read ${shown(path)}: ${errno === "" ? String(error) : errno}`,
    {
      hint: denied
        ? `make it readable for this user, for example \`chmod -R u+rX\` on it, or seed a directory without it`
        : "seed a directory without it, or a copy",
      details: { path: Buffer.from(path, "latin1").toString("utf8"), errno },
      cause: error,
    },
  );
}
