/**
 * Runs `count` calls in batches of 1, 2, 4, … and stops after a batch with a failure: when a quota or an admission
 * refuses the first pod, the API is not asked five hundred times. Returns what succeeded and the first error.
 */
export async function runSlowStart<R>(
  count: number,
  call: (index: number) => Promise<R>,
): Promise<{ results: R[]; error?: unknown }> {
  const results: R[] = [];
  for (let done = 0, size = 1; done < count; done += size, size *= 2) {
    const batch = Array.from({ length: Math.min(size, count - done) }, (_, index) => call(done + index));
    const settled = await Promise.allSettled(batch);
    for (const one of settled) if (one.status === 'fulfilled') results.push(one.value);
    const failed = settled.find((one) => one.status === 'rejected');
    if (failed) return { results, error: failed.reason };
  }
  return { results };
}
