/** R6: a memory that grows can be looked into while the daemon runs. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type ExecutionContext } from 'ava';

const CHILD = join(import.meta.dirname, '../../support/heap-snapshot-child.ts');

interface Line {
  msg: string;
  path?: string;
  heapUsedBytes?: number;
  err?: { message: string };
}

function startChild(t: ExecutionContext) {
  const directory = mkdtempSync('/tmp/berth-unit-heap-');
  const child = spawn(process.execPath, [CHILD, directory], { stdio: ['pipe', 'ignore', 'pipe'] });
  const lines = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
  t.teardown(() => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  const next = async (): Promise<Line> => JSON.parse((await lines.next()).value!);
  return {
    directory,
    next,
    async snapshot(): Promise<Line> {
      child.kill('SIGUSR2');
      return next();
    },
    isAlive: () => child.exitCode === null && child.signalCode === null,
  };
}

test('R6: SIGUSR2 writes a heap snapshot that only its owner may read; the two newest stay', async (t) => {
  const child = startChild(t);
  t.is((await child.next()).msg, 'ready');
  const paths: string[] = [];
  for (let round = 0; round < 3; round++) {
    const { msg, path = '', heapUsedBytes = 0 } = await child.snapshot();
    t.is(msg, 'heap snapshot written');
    t.true(heapUsedBytes > 1e6);
    paths.push(path);
    t.is(statSync(path).mode & 0o777, 0o600);
    // Names are of a second each.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  t.is(statSync(join(child.directory, 'heap')).mode & 0o777, 0o700);
  t.deepEqual(
    readdirSync(join(child.directory, 'heap')).map((name) => join(child.directory, 'heap', name)),
    paths.slice(1),
  );
  t.true(JSON.parse(readFileSync(paths[2]!, 'utf8')).snapshot.node_count > 1000);
  t.true(child.isAlive());
});

test('R6: a snapshot that cannot be written is told, and the daemon goes on', async (t) => {
  const child = startChild(t);
  await child.next();
  writeFileSync(join(child.directory, 'heap'), 'not a folder');
  const { msg, err } = await child.snapshot();
  t.is(msg, 'no heap snapshot could be written');
  t.regex(err!.message, /heap/);
  rmSync(join(child.directory, 'heap'));
  mkdirSync(join(child.directory, 'heap'));
  t.is((await child.snapshot()).msg, 'heap snapshot written');
});
