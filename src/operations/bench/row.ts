import * as z from "zod";

/** One figure, with the floor it is measured against in the same run. */
export const benchRow = z.object({
  name: z.string(),
  value: z.number(),
  unit: z.enum(["ms", "MiB"]),
  /** How many measurements the median is of. */
  samples: z.number(),
  floor: z.object({ name: z.string(), value: z.number() }).optional(),
  /** What the project aims at, in words; never enforced. */
  aim: z.string().optional(),
});

export type BenchRow = z.output<typeof benchRow>;
