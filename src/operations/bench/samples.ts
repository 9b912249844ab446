/** How long the work took, in ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** The samples of `count` rounds, one after the other; fewer where those took longer than the budget, at least one. */
export async function repeat(
  count: number,
  work: () => Promise<number>,
  budgetMs = Infinity,
): Promise<number[]> {
  const samples: number[] = [];
  const startedAt = performance.now();
  while (samples.length < count && (samples.length === 0 || performance.now() - startedAt < budgetMs))
    samples.push(await work());
  return samples;
}

/** The value below which `share` of the samples lie. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);
