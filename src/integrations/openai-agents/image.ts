/** The most that the SDK shows a model. */
export const IMAGE_BYTES = 10 * 1024 * 1024;

const BEGINNINGS: readonly (readonly [string, string, number])[] = [
  ["89504e47", "image/png", 0],
  ["ffd8ff", "image/jpeg", 0],
  ["47494638", "image/gif", 0],
  ["57454250", "image/webp", 8],
  ["424d", "image/bmp", 0],
];

/** What kind of image it is, by how it begins; undefined: none that a model can be shown. */
export function imageType(bytes: Uint8Array): string | undefined {
  const hex = Buffer.from(bytes.subarray(0, 16)).toString("hex");
  return BEGINNINGS.find(([beginning, , offset]) => hex.startsWith(beginning, 2 * offset))?.[1];
}
