import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { keepAlone, whileNodesRest } from '../../../cli/nodes/locks.ts';
import type { Settings } from '../../../cli/settings.ts';

function setUp(t: ExecutionContext): Settings {
  const rootDir = mkdtempSync(join(tmpdir(), 'node-locks-'));
  t.teardown(() => rmSync(rootDir, { recursive: true, force: true }));
  return { rootDir, runDir: join(rootDir, 'run'), logDir: join(rootDir, 'log') } as Settings;
}

test('commands that change the nodes wait for each other, and for none that failed', async (t) => {
  const settings = setUp(t);
  const order: string[] = [];
  const work = (name: string) => async () => {
    order.push(`${name} begins`);
    await new Promise(setImmediate);
    order.push(`${name} ends`);
    if (name === 'first') throw new Error('no disk');
  };
  const first = whileNodesRest(settings, work('first'));
  const second = whileNodesRest(settings, work('second'));
  await t.throwsAsync(first, { message: 'no disk' });
  await second;
  t.deepEqual(order, ['first begins', 'first ends', 'second begins', 'second ends']);
});

test('a node is kept by one process; another node by another', (t) => {
  const settings = setUp(t);
  t.true(keepAlone(settings, 'one'));
  t.false(keepAlone(settings, 'one'));
  t.true(keepAlone(settings, 'other'));
});
