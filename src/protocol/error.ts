import { isErrorCode, type ErrorCode } from "./codes.js";

/** What an error carries besides its code; every field is safe to show to a person or a model. */
export interface PyroErrorOptions {
  /** The next thing to type, or to do; empty only where nothing can be done. */
  readonly hint?: string;
  /** Machine-readable facts: plain JSON values. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** Whether the same call may succeed later, unchanged. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** The one error class of pyro: what failed (with the value seen), and the next thing to type. */
export class PyroError extends Error {
  override readonly name = "PyroError";
  readonly code: ErrorCode;
  readonly hint: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: PyroErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint ?? "";
    this.details = options.details ?? {};
    this.retryable = options.retryable ?? false;
  }

  /** Any thrown value as a PyroError; the edges of the program call this once. */
  static from(value: unknown): PyroError {
    if (value instanceof PyroError) return value;
    const system = systemError(value);
    if (system !== undefined) return system;
    const message = value instanceof Error ? value.message : String(value);
    return new PyroError("INTERNAL", message, {
      hint: "this is a defect of pyro: please report it with `pyro daemon logs`",
      cause: value,
    });
  }

  /** The shape of section 6 of the contract: `{"error": …}` on the command line, `isError` text in MCP. */
  toJSON(): { code: ErrorCode; message: string; hint: string; details: unknown; retryable: boolean } {
    return {
      code: this.code,
      message: this.message,
      hint: this.hint,
      details: this.details,
      retryable: this.retryable,
    };
  }
}

/** An error as a peer sent it; a code that this version does not know becomes INTERNAL and is kept in the details. */
export function fromWire(code: string, message: string, options: PyroErrorOptions = {}): PyroError {
  if (isErrorCode(code)) return new PyroError(code, message, options);
  return new PyroError("INTERNAL", message, { ...options, details: { ...options.details, peer_code: code } });
}

/** System errors that mean the same wherever they happen. */
function systemError(value: unknown): PyroError | undefined {
  if (!(value instanceof Error)) return undefined;
  const { code, path } = value as NodeJS.ErrnoException;
  const where = path === undefined ? "" : `: ${path}`;
  switch (code ?? "") {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new PyroError("DISK_FULL", `no space left on the host's disk${where}`, {
        hint: "free some space (`pyro env prune` removes what nothing uses), then try again",
        retryable: true,
        cause: value,
      });
    case "EMFILE":
    case "ENFILE":
      return new PyroError("TOO_MANY_FILES", `the limit of open files is reached${where}`, {
        hint: "raise it with `ulimit -n 4096`, then `pyro daemon stop` and try again",
        retryable: true,
        cause: value,
      });
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return new PyroError("STATE_NOT_WRITABLE", `not allowed to write${where} (${value.message})`, {
        hint: "choose a writable place with `pyro --state-dir DIR …`",
        cause: value,
      });
    default:
      return undefined;
  }
}
