import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { noTests, type TestTotals } from './report.ts';

const NO_BENCHES = ['support.ts', 'pods.ts', 'profile-child.ts', 'commands.ts'];

/** Benchmarks are run, not judged: a figure depends on the machine's day. One that cannot run to its end is a failure. */
export function runBenches(checkout: string, print: (line: string) => void): TestTotals {
  const totals = noTests();
  const folder = join(checkout, 'test/bench');
  for (const file of readdirSync(folder)
    .filter((name) => name.endsWith('.ts') && !NO_BENCHES.includes(name))
    .sort()) {
    print(`bench ${file}`);
    const { status } = spawnSync(process.execPath, [join(folder, file)], { cwd: checkout, stdio: 'inherit' });
    if (status === 0) totals.passed++;
    else {
      totals.failed++;
      totals.failedNames.push(`bench ${file}`);
      print(`✗ bench ${file} exited ${status}`);
    }
  }
  return totals;
}
