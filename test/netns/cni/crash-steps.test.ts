/** kill -9 before every step of ADD and of DEL, one after the other: the next process finds all that is left (R15). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { run } from '../../../src/linux/exec.ts';
import { openCniChain } from '../../support/cni-chain.ts';
import { createTestNetns } from '../../support/netns.ts';

const CHILD = join(import.meta.dirname, '../../support/cni-step-child.ts');
/** More than there are: a test that counts no steps must not end well. */
const STEPS_LIMIT = 100;
/** Of each, less would mean that steps are not seen. */
const STEPS_LEAST = { ADD: 12, DEL: 2 };

/** What else an interface may come with; each takes its time. */
const VARIANTS: [string, object, boolean][] = [
  ['bridge', {}, true],
  [
    'bridge with masquerade by nftables and a spoof check',
    { ipMasq: true, ipMasqBackend: 'nftables', macspoofchk: true },
    false,
  ],
  ['bridge with masquerade by iptables', { ipMasq: true, ipMasqBackend: 'iptables' }, false],
  ['ptp', { type: 'ptp' }, false],
];

async function createScene(t: ExecutionContext, variant: object) {
  const host = await createTestNetns(t, 'host');
  const [pod, other] = [await createTestNetns(t, 'pod'), await createTestNetns(t, 'other')];
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-steps-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const keys = JSON.stringify(variant);
  const open = () => openCniChain(host.path, dataDir, keys);
  /** Whether the child was killed; it was not when there are fewer steps. */
  const killAt = async (command: 'ADD' | 'DEL', step: number) => {
    const args = [CHILD, command, String(step), host.path, pod.path, dataDir, './cni-chain.ts', keys];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const [code, signal] = await once(child, 'exit');
    t.true(signal === 'SIGKILL' || code === 0, `${command} ended with ${code ?? signal}`);
    return signal === 'SIGKILL';
  };
  /** Everything that pods leave on a host. */
  const state = async () => {
    const links = (await host.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname);
    const inside = (await pod.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname);
    const rules = await host.run('nft', ['list', 'ruleset']);
    return {
      leases: readdirSync(join(dataDir, 'net')).filter((name) => /^\d/.test(name)).length,
      others: readdirSync(join(dataDir, 'net')).filter((name) => !/^(\d.*|lock|last_reserved_ip\.0)$/.test(name)),
      veths: links.filter((name) => name.startsWith('veth')).length,
      inside: inside.filter((name) => name !== 'lo'),
      ports: rules.match(/dport/g)?.length ?? 0,
      // Of nat tables by the name of their chains, of the rest by comment.
      further: rules.match(/(chain CNI-|, id: pod|chain cni-br-iface-)/g)?.length ?? 0,
    };
  };
  const afresh = async () => {
    await run('ip', ['link', 'delete', 'cni0'], { netns: host.path, okCodes: [0, 1] });
    rmSync(join(dataDir, 'net'), { recursive: true, force: true });
  };
  return { host, pod, other, open, killAt, state, afresh };
}

const NOTHING = { leases: 0, others: [], veths: 0, inside: [] as string[], ports: 0, further: 0 };
const ONE = { ...NOTHING, leases: 1, veths: 1, inside: ['eth0'], ports: 1 };

for (const [name, variant, always] of VARIANTS) {
  const runs = always || process.env['BERTH_TEST_FULL'] === '1';
  const story = runs ? test : test.skip;
  const title = (text: string) => `R15: ${name}: ${text}${runs ? '' : ' (with --full)'}`;

  story(
    title('ADD killed before any of its steps: DEL leaves nothing, ADD works again, another pod is not in the way'),
    async (t) => {
      const { pod, other, open, killAt, state, afresh } = await createScene(t, variant);
      let step = 1;
      for (; step < STEPS_LIMIT; step++) {
        await afresh();
        if (!(await killAt('ADD', step))) break;
        const chain = open();
        try {
          const neighbour = await chain.add(2, other.path);
          await chain.del(1, pod.path);
          const result = await chain.add(1, pod.path);
          t.not(result.ips[0]!.address, neighbour.ips[0]!.address);
          await chain.check(1, pod.path, result);
          await chain.del(2, other.path);
          t.like(await state(), { ...ONE, further: furtherOf(variant) }, `killed before step ${step}`);
          await t.notThrowsAsync(pod.run('busybox', ['ping', '-c', '1', '-W', '20', '10.244.0.1']));
          await chain.del(1, pod.path);
          t.deepEqual(await state(), NOTHING, `killed before step ${step}`);
        } finally {
          chain.close();
        }
      }
      t.true(step > STEPS_LEAST.ADD && step < STEPS_LIMIT, `${step - 1} steps`);
    },
  );

  story(title('ADD killed before any of its steps: GC finds what nobody knows of, and leaves others’'), async (t) => {
    const { pod, other, open, killAt, state, afresh } = await createScene(t, variant);
    let step = 1;
    for (; step < STEPS_LIMIT; step++) {
      await afresh();
      if (!(await killAt('ADD', step))) break;
      const chain = open();
      try {
        await chain.add(2, other.path);
        await chain.gc([2]);
        t.deepEqual(await state(), { ...ONE, inside: [], further: furtherOf(variant) }, `killed before step ${step}`);
        await chain.gc([]);
        t.deepEqual(await state(), NOTHING, `killed before step ${step}`);
        await chain.add(1, pod.path);
        await chain.del(1, pod.path);
      } finally {
        chain.close();
      }
    }
    t.true(step > STEPS_LEAST.ADD && step < STEPS_LIMIT, `${step - 1} steps`);
  });

  story(title('DEL killed before any of its steps, then again: nothing is left'), async (t) => {
    const { pod, open, killAt, state } = await createScene(t, variant);
    let step = 1;
    for (; step < STEPS_LIMIT; step++) {
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
    t.true(step > STEPS_LEAST.DEL && step < STEPS_LIMIT, `${step - 1} steps`);
  });
}

/** Rules and chains that one pod has beside its host port. */
function furtherOf(variant: { ipMasq?: boolean; ipMasqBackend?: string; macspoofchk?: boolean }): number {
  return (variant.ipMasq ? 1 : 0) + (variant.macspoofchk ? 2 : 0);
}
