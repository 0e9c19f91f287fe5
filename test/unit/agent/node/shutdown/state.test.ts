import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  ensureLogindOverride,
  removeLogindOverride,
  renderLogindOverride,
} from '../../../../../agent/node/shutdown/logind-override.ts';
import { readShutdownState, writeShutdownState } from '../../../../../agent/node/shutdown/state.ts';

function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'berth-shutdown-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("the times of a shutdown survive in upstream's shape", async (t) => {
  const file = join(temporaryFolder(t), 'graceful_node_shutdown_state');
  t.deepEqual(await readShutdownState(file), {});
  await writeShutdownState(file, { startMs: 1_700_000_000_000 });
  t.deepEqual(JSON.parse(readFileSync(file, 'utf8')), {
    startTime: '2023-11-14T22:13:20.000Z',
    endTime: '0001-01-01T00:00:00Z',
  });
  t.deepEqual(await readShutdownState(file), { startMs: 1_700_000_000_000 });
  await writeShutdownState(file, { startMs: 1_700_000_000_000, endMs: 1_700_000_030_000 });
  t.deepEqual(await readShutdownState(file), { startMs: 1_700_000_000_000, endMs: 1_700_000_030_000 });
  t.deepEqual(readdirSync(dirname(file)), ['graceful_node_shutdown_state']);
});

test('what a kubelet wrote is read', async (t) => {
  const file = join(temporaryFolder(t), 'state');
  writeFileSync(file, '{"startTime":"2026-11-20T14:28:54.123456789Z","endTime":"2026-11-20T15:28:54+01:00"}');
  t.deepEqual(await readShutdownState(file), {
    startMs: Date.parse('2026-11-20T14:28:54.123Z'),
    endMs: Date.parse('2026-11-20T14:28:54Z'),
  });
});

for (const bad of ['', '{', 'null', '{"startTime":"yesterday"}', '{"startTime":5}'])
  test(`a corrupt file is named: ${JSON.stringify(bad)}`, async (t) => {
    const file = join(temporaryFolder(t), 'state');
    writeFileSync(file, bad);
    await t.throwsAsync(readShutdownState(file), { message: /state does not hold the times of a shutdown: / });
  });

test("logind's addition is written, and only ours is removed", async (t) => {
  const folder = join(temporaryFolder(t), 'logind.conf.d');
  await ensureLogindOverride(30_500, folder);
  t.deepEqual(readdirSync(folder), ['99-berth.conf']);
  t.regex(renderLogindOverride(30_500), /^\[Login\]\nInhibitDelayMaxSec=31$/m);
  await removeLogindOverride(folder);
  await removeLogindOverride(folder);
  t.false(existsSync(folder));
  mkdirSync(folder);
  writeFileSync(join(folder, '99-berth.conf'), '[Login]\nInhibitDelayMaxSec=600\n');
  await removeLogindOverride(folder);
  t.deepEqual(readdirSync(folder), ['99-berth.conf']);
});
