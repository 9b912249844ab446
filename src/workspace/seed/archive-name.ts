/** Bounds of a name, the same as the agent's (guest/internal/archive/name.go). */
const PATH_BYTES = 4095;
const PART_BYTES = 255;
const DEPTH = 1024;

/** Why an archive's entry of that name (latin1) is refused, or undefined where it is fine. */
export function nameFault(name: string): string | undefined {
  if (name === "") return "its name is empty";
  if (name.length > PATH_BYTES) return `its name is longer than ${PATH_BYTES} bytes`;
  if (name.includes("\0")) return "its name contains a NUL byte";
  if (name.startsWith("/")) return "its name is absolute";
  let depth = 0;
  for (const part of name.split("/")) {
    if (part === "..") return 'its name contains ".."';
    if (part.length > PART_BYTES) return `a part of its name is longer than ${PART_BYTES} bytes`;
    if (part !== "" && part !== ".") depth += 1;
  }
  return depth > DEPTH ? `its name has more than ${DEPTH} parts` : undefined;
}

/** Whether the name is the directory itself: "." or "./". */
export function namesTop(name: string): boolean {
  return name.split("/").every((part) => part === "" || part === ".");
}
