/** How long a piece of work may hold the event loop, which probes and leases share. */
const SLICE_MS = 8;

/** Runs a generator to its end, letting the event loop turn whenever a slice of time is used up. */
export async function runInSlices<T>(steps: Generator<void, T>, signal?: AbortSignal, sliceMs = SLICE_MS): Promise<T> {
  for (;;) {
    const sliceEndMs = performance.now() + sliceMs;
    do {
      const step = steps.next();
      if (step.done) return step.value;
    } while (performance.now() < sliceEndMs);
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
}

/** Runs a generator to its end at once; for small inputs and tests. */
export function runAtOnce<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** The values that a generator yields, letting the event loop turn whenever a slice of time is used up; `undefined` is a step without a value. */
export async function* valuesInSlices<T>(
  steps: Generator<T | undefined, void>,
  sliceMs = SLICE_MS,
): AsyncGenerator<T, void> {
  let sliceEndMs = performance.now() + sliceMs;
  for (const value of steps) {
    if (value !== undefined) yield value;
    if (performance.now() < sliceEndMs) continue;
    await new Promise((resolve) => setImmediate(resolve));
    sliceEndMs = performance.now() + sliceMs;
  }
}
