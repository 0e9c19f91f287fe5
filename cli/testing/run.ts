import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { collectDeadHosts, createHost } from '../hosts/host.ts';
import { UserError } from '../output/failure.ts';
import { fetchUmlKernel } from '../uml/kernel.ts';
import { startAssetsBuild } from './assets-build.ts';
import { runBenches } from './benches.ts';
import {
  bird,
  cniPlugins,
  type DebianProgram,
  dockerRegistry,
  fetchDebianProgram,
  firewalld,
  iscDhcpServer,
} from './debian-program.ts';
import { lintChecks } from './lint.ts';
import { createReportReader, noTests, type TestTotals } from './report.ts';
import { type Rung, rungs } from './rungs.ts';
import { filesToTryAgain } from './second-try.ts';
import { type RungResult, summarize } from './summary.ts';

const CHECKOUT = dirname(dirname(import.meta.dirname));

const UML = join(CHECKOUT, 'cli/uml/main.ts');
/** Its exit code when there is no guest. */
const UML_NO_BOOT = 77;

const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
/** Somebody ended this run: no further rung begins. */
let stopped = false;

const DEBIAN_PROGRAMS: Record<string, readonly DebianProgram[]> = {
  netns: [cniPlugins, bird, firewalld, iscDhcpServer],
  docker: [dockerRegistry],
  e2e: [bird],
};

/** Runs the rungs in their lanes, prints a table and the closing line, and tells the exit code. */
export async function runTests(options: { only: string[]; full: boolean }): Promise<number> {
  const names = ['lint', ...rungs.map((rung) => rung.name), 'bench'];
  const unknown = options.only.find((name) => !names.includes(name) && !isTestFile(name));
  if (unknown) throw new UserError(`test: there is no rung '${unknown}'; the rungs are ${names.join(', ')}`, 2);
  const files = options.only.filter(isTestFile);
  const wanted = (name: string) => options.only.length === 0 || options.only.includes(name);
  await collectDeadHosts();
  const assets = options.full && wanted('e2e') ? startAssetsBuild(CHECKOUT, print) : undefined;
  const results: RungResult[] = [];
  const doubtful: Doubtful[] = [];
  if (wanted('lint')) results.push(await timed('lint', runLint));
  async function runLane(lane: Rung['lane']): Promise<void> {
    for (const rung of rungs.filter((one) => one.lane === lane)) {
      const chosen = testFiles(rung).filter((file) => wanted(rung.name) || files.includes(file));
      if (stopped || chosen.length === 0) continue;
      // The rung's host has no network; without the program its tests skip by name.
      for (const program of DEBIAN_PROGRAMS[rung.name] ?? [])
        await fetchDebianProgram(CHECKOUT, program).catch((error) => print(String(error)));
      if (rung.name === 'e2e') await assets;
      const result = await timed(rung.name, () => runRung(rung, chosen, options.full));
      results.push(result);
      if (options.only.length === 0 && !options.full) doubtful.push({ rung, files: chosen, result });
    }
  }
  await runLane('first');
  await Promise.all([runLane('parts'), runLane('clusters')]);
  for (const one of doubtful) await tryAgain(one);
  const order = rungs.map((rung) => rung.name);
  results.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  if (options.full ? wanted('bench') : options.only.includes('bench'))
    results.push(await timed('bench', async () => runBenches(CHECKOUT, print)));
  const { lines, green } = summarize(results);
  print(lines.join('\n'));
  return green ? 0 : 1;
}

interface Doubtful {
  rung: Rung;
  files: readonly string[];
  result: RungResult;
}

/**
 * In a whole run two lanes share the machine. What fails in it is looked at once more, alone: who fails again is broken, who passes is unsteady,
 * and named as that under the table, with its first failure (ADR 54).
 */
async function tryAgain({ rung, files, result }: Doubtful): Promise<void> {
  for (const [file, failed] of filesToTryAgain(result, files) ?? []) {
    if (stopped) return;
    const again = await timed(`${rung.name}, once more and alone: ${file}`, () => runRung(rung, [file], false));
    if (again.failed > 0 || again.passed === 0) continue;
    result.failed -= failed;
    result.passed += failed;
    result.unsteady.push(file);
  }
}

async function timed(
  name: string,
  run: () => Promise<TestTotals & { details?: readonly string[] }>,
): Promise<RungResult> {
  const started = performance.now();
  print(`── ${name}`);
  const totals = await run();
  return { name, details: [], ...totals, unsteady: [], seconds: (performance.now() - started) / 1000 };
}

async function runLint(): Promise<TestTotals> {
  const totals = noTests();
  for (const check of lintChecks(CHECKOUT)) {
    const { problem, skip } = check.run();
    if (problem !== undefined) {
      totals.failed++;
      totals.failedNames.push(check.name);
      print(`✗ ${check.name}\n${problem}`);
    } else if (skip !== undefined) {
      totals.skipped++;
      totals.skippedNames.push(`${check.name}: ${skip}`);
    } else {
      totals.passed++;
    }
  }
  return totals;
}

async function runRung(
  rung: Rung,
  files: string[],
  full: boolean,
): Promise<TestTotals & { details?: readonly string[] }> {
  const flags = rung.serial ? ['--concurrency', '1', '--timeout', '5m'] : ['--concurrency', '2', '--timeout', '2m'];
  const argv = [process.execPath, join(CHECKOUT, 'node_modules/ava/entrypoints/cli.js'), ...flags, ...files];
  const reader = createReportReader((line) => print(`${rung.name.padEnd(9)}${line}`));
  if (rung.place === 'uml') {
    const missing = await fetchUmlKernel(CHECKOUT).then(() => undefined, String);
    if (missing !== undefined) return skipAll(files, missing.split('\n')[0]!);
    argv.unshift(process.execPath, UML);
  }
  const code = await (rung.place === 'here'
    ? here(argv, reader.line, full)
    : inHost(rung.name, argv, reader.line, full));
  if (rung.place === 'uml' && code === UML_NO_BOOT)
    return skipAll(files, 'user-mode-linux does not boot here (it needs ptrace and an executable /dev/shm)');
  const { passed, failed, skipped } = reader.totals;
  if (failed === 0 && (code !== 0 || passed + skipped === 0)) {
    const problem = `${rung.name}: ava ended with exit code ${code} without naming a ${code === 0 ? 'test' : 'failed test'}`;
    reader.totals.failed++;
    reader.totals.failedNames.push(problem);
    print(`✗ ${problem}`);
  }
  const details = reader.totals.failed > 0 ? reader.details() : [];
  if (details.length > 0) print(details.join('\n'));
  return { ...reader.totals, details };
}

function skipAll(files: string[], why: string): TestTotals {
  return { ...noTests(), skipped: files.length, skippedNames: [`all of it: ${why}`] };
}

/** With `full`, tests may make for themselves what takes minutes. */
const environment = (full: boolean): NodeJS.ProcessEnv => ({
  ...(full && { BERTH_TEST_FULL: '1' }),
  // The report is read: it has other marks on a kernel's own console.
  TERM: 'xterm',
});

async function here(argv: string[], onLine: (line: string) => void, full: boolean): Promise<number> {
  const [program = '', ...args] = argv;
  const env = { ...process.env, ...environment(full) };
  return follow(spawn(program, args, { cwd: CHECKOUT, env, stdio: ['ignore', 'pipe', 'inherit'] }), onLine);
}

async function inHost(name: string, argv: string[], onLine: (line: string) => void, full: boolean): Promise<number> {
  const host = await createHost(name);
  try {
    return await follow(
      host.spawn(argv, { cwd: CHECKOUT, env: environment(full), stdio: ['ignore', 'pipe', 'inherit'] }),
      onLine,
    );
  } finally {
    await host.close();
  }
}

async function follow(child: ChildProcess, onLine: (line: string) => void): Promise<number> {
  const lines = createInterface({ input: child.stdout! });
  lines.on('line', onLine);
  // A runner that is told to stop takes its tests with it: their hosts die with them.
  const stop = () => {
    stopped = true;
    child.kill('SIGTERM');
  };
  for (const signal of STOP_SIGNALS) process.on(signal, stop);
  const [code] = await once(child, 'close');
  for (const signal of STOP_SIGNALS) process.off(signal, stop);
  return code ?? -1;
}

/** A file may be named in place of its rung. */
const isTestFile = (name: string) => name.startsWith('test/') && name.endsWith('.test.ts');

function testFiles(rung: Rung): string[] {
  return rung.folders.flatMap((folder) => {
    const path = join(CHECKOUT, 'test', folder);
    if (!existsSync(path)) return [];
    return readdirSync(path, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.test.ts'))
      .map((file) => join('test', folder, file))
      .sort();
  });
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
