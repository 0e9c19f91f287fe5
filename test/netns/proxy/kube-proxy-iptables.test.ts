import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { findPeerProgram } from '../../../cli/kube-assets/assets.ts';
import { run } from '../../../src/linux/exec.ts';
import { createIptables } from '../../../src/netfilter/iptables.ts';
import { canonicalRule } from '../../../src/netfilter/rule.ts';
import { startBenchChild } from '../../bench/proxy/child.ts';
import { type Subject, startSubject } from '../../bench/proxy/subject.ts';
import { API_PORT, type Order } from '../../bench/proxy/world.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns } from '../../support/netns.ts';

const found = findPeerProgram('kube-proxy', process.env);
const isFull = process.env['BERTH_TEST_FULL'] === '1';
const real = isFull && 'path' in found ? test : test.skip;
const why = !isFull ? ' (--full)' : 'skip' in found ? ` (${found.skip})` : '';
const SERVICES = 20;

/** The chains of services, as a program of this mode leaves them. */
async function serviceChains(t: Parameters<typeof createTestNetns>[0], subject: Subject): Promise<string[]> {
  const netns = await createTestNetns(t, subject.program);
  const folder = mkdtempSync(join(tmpdir(), 'berth-peer-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const api = startBenchChild<Order>('api-server-child.ts', netns.path);
  t.teardown(api.end);
  const nodeName = 'bench-node';
  const start = { port: API_PORT, services: SERVICES, endpoints: 3, nodeName, nodeIp: '192.168.60.1' };
  await api.tell({ start: { ...start, firstEndpoints: ['10.255.0.1'] } });
  const running = startSubject(subject, { netns: netns.path, folder, nodeName, minSyncPeriodMs: 100 });
  t.teardown(running.end);
  const iptables = createIptables({ family: 'IPv4', run, netns: netns.path });
  const chains = async () => [...((await iptables.save('nat')).get('nat') ?? [])];
  await eventually(
    'all services have a chain',
    async () => (await chains()).filter(([name]) => name.startsWith('KUBE-SVC-')).length === SERVICES,
  );
  return (await chains())
    .filter(([name]) => /^KUBE-(SVC|SEP)-/.test(name))
    .flatMap(([name, { rules }]) => rules.map((rule) => `${name} ${canonicalRule(withoutComment(rule))}`))
    .sort();
}

/** 1.20 has the mark for traffic from elsewhere in KUBE-SERVICES, and no `-> ip:port` in comments: names, jumps, chances and targets are the same. */
const withoutComment = (rule: string) => rule.replace(/-m comment --comment (?:"[^"]*"|\S+) ?/, '');

real(`kube-proxy 1.20's chains of services are ours${why}`, async (t) => {
  const theirs = await serviceChains(t, { program: 'kube-proxy', mode: 'iptables' });
  const ours = await serviceChains(t, { program: 'berth', mode: 'iptables' });
  t.deepEqual(
    ours.filter((rule) => !/^KUBE-SVC-\S+ .*KUBE-MARK-MASQ/.test(rule)),
    theirs,
  );
  t.is(theirs.length, 1 + 2 + (SERVICES - 1) * 9);
});
