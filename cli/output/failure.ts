/** An error whose message is all that a person needs: what, where, why and the way out. Printed without a stack. */
export class UserError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Errors of the foundations whose message names file, field and way out. */
const EXPLAINED = new Set(['ConfigError', 'KubeconfigError', 'DockerError']);

/** Prints the error as `berth: …` and tells the exit code. Errors that nobody foresaw keep their stack: it is their only explanation. */
export function reportFailure(error: unknown): number {
  if (error instanceof Error && EXPLAINED.has(error.name)) {
    process.stderr.write(`berth: ${error.message}\n`);
    return 1;
  }
  if (error instanceof UserError) {
    process.stderr.write(`berth: ${error.message}\n`);
    return error.exitCode;
  }
  process.stderr.write(`berth: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  if (error instanceof AggregateError)
    for (const one of error.errors)
      process.stderr.write(`  - ${one instanceof Error ? (one.stack ?? one.message) : String(one)}\n`);
  return 1;
}
