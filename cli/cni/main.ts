import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { ownPlugins } from '../../cni/programs/all.ts';
import { callPlugin } from '../../cni/wire/call.ts';
import { run } from '../../src/linux/exec.ts';

/**
 * The program behind every file that `berth cni install` makes: `node berth-cni.mjs TYPE`, a runtime's words in the environment
 * and on stdin.
 */
const type = process.argv[2] ?? '';
const program = ownPlugins({ run, sleep: (ms) => sleep(ms) }).get(type);
if (!program) {
  process.stderr.write(`berth-cni: there is no plugin ${JSON.stringify(type)}\n`);
  process.exit(1);
}
if (process.stdin.isTTY) {
  process.stderr.write(`CNI ${type} plugin of Berth; a container runtime calls it (CNI specification 1.1)\n`);
  process.exit(1);
}
const { stdout, exitCode } = await callPlugin(program, process.env, await text(process.stdin));
process.stdout.write(stdout, () => process.exit(exitCode));
