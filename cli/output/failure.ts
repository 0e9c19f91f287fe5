/** An error whose message is all that a person needs: what, where, why and the way out. Printed without a stack. */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Errors whose message names what went wrong and the way out. */
const EXPLAINED = new Set([
  'UserError',
  'ExplainedError',
  'ConfigError',
  'KubeconfigError',
  'DockerError',
  'ExecError',
]);

/** Prints the error as `berth: …` and tells the exit code. Errors that nobody foresaw keep their stack: it is their only explanation. */
export function reportFailure(error: unknown): number {
  process.stderr.write(`berth: ${describe(error)}\n`);
  return error instanceof UserError ? error.exitCode : 1;
}

function describe(error: unknown): string {
  if (error instanceof AggregateError) {
    const what = error.message.split(':')[0];
    return [`${what} did not go through:`, ...error.errors.map((one) => `  - ${describe(one)}`)].join('\n');
  }
  if (!(error instanceof Error)) return String(error);
  return EXPLAINED.has(error.name) ? error.message : (error.stack ?? error.message);
}
