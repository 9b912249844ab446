import { PyroError } from "../protocol/index.js";
import { shortDigest, type Digest } from "./digest.js";

const AGAIN = "try again; where it stays so, the registry's copy is damaged: push the image anew";

/** Whole, but other bytes than were asked for. */
export function digestMismatch(what: string, expected: Digest, found: Digest, hint = AGAIN): PyroError {
  return new PyroError(
    "BLOB_DIGEST_MISMATCH",
    `${what} is not what its digest says, but ${shortDigest(found)}`,
    {
      hint,
      details: { expected, found },
    },
  );
}

/** More or fewer bytes than the descriptor says, from a server that thinks it sent all. */
export function sizeMismatch(
  digest: Digest,
  sizeBytes: number,
  found: "more" | number,
  hint = AGAIN,
): PyroError {
  const says = found === "more" ? `more than the ${sizeBytes}` : `${found} of the ${sizeBytes}`;
  return new PyroError(
    "BLOB_SIZE_MISMATCH",
    `${shortDigest(digest)} has ${says} bytes that its manifest says`,
    {
      hint,
      details: { digest, size_bytes: sizeBytes, found },
    },
  );
}

/** The connection ended in the middle, as often as it was tried. */
export function truncated(digest: Digest, sizeBytes: number, received: number): PyroError {
  const so = `${received} of ${sizeBytes} bytes`;
  return new PyroError(
    "BLOB_TRUNCATED",
    `the connection ended in the middle of ${shortDigest(digest)}: ${so}`,
    {
      hint: "try again: what was fetched is kept",
      details: { digest, size_bytes: sizeBytes, received },
      retryable: true,
    },
  );
}
