/** kill -9 before steps of ADD and DEL of a further interface (macvlan or a device of the host's, tuning, sbr): the next process finds all that is left. All steps with --full, else some. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type LinkChain, openCniChain } from '../../support/cni-link-chain.ts';
import { createTestNetns } from '../../support/netns.ts';

const CHILD = join(import.meta.dirname, '../../support/cni-step-child.ts');
const MODULE = './cni-link-chain.ts';
const isFull = process.env['BERTH_TEST_FULL'] === '1';
/** More than there are: a test that counts no steps must not end well. */
const STEPS_LIMIT = 100;
const STRIDE = isFull ? 1 : 7;

async function createScene(t: ExecutionContext, kind: LinkChain) {
  const host = await createTestNetns(t, 'host');
  const wire = await createTestNetns(t, 'switch');
  const pod = await createTestNetns(t, 'pod');
  await host.ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'sw0', 'netns', wire.name);
  await host.ip('link', 'set', 'up0', 'up');
  await wire.ip('link', 'set', 'sw0', 'up');
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-steps-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const [up0] = await host.ipJson<{ address: string }>('link', 'show', 'up0');
  const killAt = async (command: 'ADD' | 'DEL', step: number) => {
    const args = [CHILD, command, String(step), host.path, pod.path, dataDir, MODULE, kind];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const [code, signal] = await once(child, 'exit');
    t.true(signal === 'SIGKILL' || code === 0, `${command} ended with ${code ?? signal}`);
    return signal === 'SIGKILL';
  };
  const namesIn = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);
  const state = async () => ({
    leases: namesIn(join(dataDir, 'net')).filter((name) => /^\d/.test(name)).length,
    backups: namesIn(join(dataDir, 'tuning')).filter((name) => name.endsWith('.json')).length,
    inside: (await pod.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname).filter((name) => name !== 'lo'),
    rules: (await pod.ip('rule')).match(/lookup \d+/g)?.length ?? 0,
    host: (await host.ipJson<{ ifname: string; address: string; mtu: number; ifalias?: string }>('link')).flatMap(
      ({ ifname, address, mtu, ifalias }) =>
        ifname === 'lo' ? [] : [[ifname, address === up0!.address, mtu, ifalias]],
    ),
  });
  const open = () => openCniChain(host.path, dataDir, kind);
  const afresh = () => rmSync(join(dataDir, 'net'), { recursive: true, force: true });
  return { pod, killAt, state, open, afresh };
}

const HOST = [['up0', true, 1500, undefined]];
const NOTHING = { leases: 0, backups: 0, inside: [], rules: 0, host: HOST };
const ATTACHED = { leases: 1, backups: 1, inside: ['net1'], rules: 1 };

for (const kind of ['macvlan', 'host-device'] as const) {
  const onHost = kind === 'macvlan' ? HOST : [];

  test(`${kind}: ADD killed before a step: DEL leaves nothing, ADD works again`, async (t) => {
    const { pod, killAt, state, open, afresh } = await createScene(t, kind);
    let killed = 0;
    let step = 1;
    for (; step < STEPS_LIMIT; step += STRIDE, killed++) {
      afresh();
      if (!(await killAt('ADD', step))) break;
      const chain = open();
      try {
        await chain.del(1, pod.path);
        t.deepEqual(await state(), NOTHING, `killed before step ${step}`);
        await chain.check(1, pod.path, await chain.add(1, pod.path));
        t.deepEqual(await state(), { ...ATTACHED, host: onHost }, `killed before step ${step}`);
        await chain.del(1, pod.path);
        t.deepEqual(await state(), NOTHING, `killed before step ${step}`);
      } finally {
        chain.close();
      }
    }
    t.true(killed > (isFull ? 15 : 2) && step < STEPS_LIMIT, `${killed} killed`);
  });

  test(`${kind}: DEL killed before a step, then again: nothing is left`, async (t) => {
    const { pod, killAt, state, open } = await createScene(t, kind);
    let killed = 0;
    for (let step = 1; step < STEPS_LIMIT; step += isFull ? 1 : 4, killed++) {
      const chain = open();
      try {
        await chain.add(1, pod.path);
        const isKilled = await killAt('DEL', step);
        if (isKilled) await chain.del(1, pod.path);
        t.deepEqual(await state(), NOTHING, `killed before step ${step}`);
        if (!isKilled) break;
      } finally {
        chain.close();
      }
    }
    t.true(killed > 1 && killed < STEPS_LIMIT / 2, `${killed} killed`);
  });
}
