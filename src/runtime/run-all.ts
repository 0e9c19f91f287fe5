/**
 * Runs every step, in order, whatever the others do, and throws one AggregateError of all that failed.
 * For teardown: it must never stop at the first problem.
 */
export async function runAll(what: string, steps: (() => unknown | Promise<unknown>)[]): Promise<void> {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0)
    throw new AggregateError(
      errors,
      `${what}: ${errors.map((error) => (error instanceof Error ? error.message : String(error))).join('; ')}`,
    );
}
