import type { PluginDependencies } from '../../cni/programs/dependencies.ts';
import { CNI_ERROR, CniError } from '../../cni/types.ts';
import { type CallOutcome, callPlugin, type ProgramPlugin, renderError } from '../../cni/wire/call.ts';
import { SUPPORTED_VERSIONS } from '../../cni/wire/versions.ts';
import { run } from '../../src/linux/exec.ts';
import { readInput, writeOutput } from './standard-streams.ts';

/**
 * The program behind a file that `berth cni install` makes: one call of one plugin, with a runtime's words in the environment and on
 * stdin. A person who starts it is told what it is, as the reference plugins do.
 */
export async function servePlugin(type: string, create: (deps: PluginDependencies) => ProgramPlugin): Promise<void> {
  if (!process.env['CNI_COMMAND']) {
    process.stderr.write(
      `CNI ${type} plugin of Berth; a container runtime calls it\nCNI protocol versions supported: ${SUPPORTED_VERSIONS.join(', ')}\n`,
    );
    process.exit(0);
  }
  const { stdout, exitCode } = await answer(create);
  await writeOutput(stdout);
  process.exit(exitCode);
}

async function answer(create: (deps: PluginDependencies) => ProgramPlugin): Promise<CallOutcome> {
  let stdin: string;
  try {
    stdin = await readInput();
  } catch (cause) {
    const error = new CniError(CNI_ERROR.ioFailure, `error reading from stdin: ${(cause as Error).message}`, { cause });
    return { stdout: renderError(error, SUPPORTED_VERSIONS.at(-1)!), exitCode: 1 };
  }
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  return callPlugin(create({ run, sleep }), process.env, stdin);
}
