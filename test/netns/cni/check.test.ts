/** CHECK after somebody has changed something: what is noticed, and that nothing is while nobody has. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createSetCaller, hasReference, type PluginSet } from '../../support/cni-call.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

interface Scene {
  host: TestNetns;
  pod: TestNetns;
  /** The host's end. */
  end: string;
}

async function setUp(t: ExecutionContext) {
  const [host, pod] = [await createTestNetns(t, 'host'), await createTestNetns(t, 'pod')];
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-check-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
  const ipam = { type: 'host-local', dataDir, subnet: '10.9.0.0/24', routes: [{ dst: '0.0.0.0/0' }] };
  const call = createSetCaller(t, host, 'ours');
  const attach = async (type: string, more: object, from?: PluginSet) => {
    const conf = { ...more, ipam };
    const added = await call(type, { command: 'ADD', id: 'one', pod, conf }, from);
    t.is(added.status, 0, JSON.stringify(added.out));
    const end: string = added.out.interfaces.find(({ name }: { name: string }) => name.startsWith('veth')).name;
    const check = async () => {
      const prevResult = added.out;
      const { status, out } = await call(type, { command: 'CHECK', id: 'one', pod, conf: { ...conf, prevResult } });
      return status === 0 ? undefined : String(out.msg);
    };
    const detach = () => call(type, { command: 'DEL', id: 'one', pod, conf });
    return { host, pod, end, check, detach };
  };
  return { attach };
}

const BRIDGE = { bridge: 'br0', isGateway: true, hairpinMode: true, ipMasq: true, macspoofchk: true };
const PTP = { ipMasq: true };

type Tampering = [what: string, conf: object, change: (scene: Scene) => Promise<unknown>, noticed: RegExp];
const nft = ({ host }: Scene, ...words: string[]) => host.run('nft', words);

const CASES: Record<string, Tampering[]> = {
  bridge: [
    ['eth0 is down', BRIDGE, ({ pod }) => pod.ip('link', 'set', 'eth0', 'down'), /eth0 is down/],
    ['no route', BRIDGE, ({ pod }) => pod.ip('route', 'del', 'default'), /lacks the route to 0\.0\.0\.0\/0/],
    ['the port is down', BRIDGE, ({ host, end }) => host.ip('link', 'set', end, 'down'), /^veth\w+ is down/],
    ['another port', BRIDGE, ({ host, end }) => host.ip('link', 'set', end, 'nomaster'), /is no port of br0/],
    [
      'no hairpin',
      BRIDGE,
      ({ host, end }) => host.ip('link', 'set', end, 'type', 'bridge_slave', 'hairpin', 'off'),
      /is not in hairpin mode any more/,
    ],
    [
      'not isolated',
      { bridge: 'br0', portIsolation: true },
      ({ host, end }) => host.ip('link', 'set', end, 'type', 'bridge_slave', 'isolated', 'off'),
      /is not isolated any more/,
    ],
    ['the bridge is down', BRIDGE, ({ host }) => host.ip('link', 'set', 'br0', 'down'), /bridge br0 is down/],
    ['no gateway', BRIDGE, ({ host }) => host.ip('addr', 'flush', 'dev', 'br0'), /br0 lacks the gateway's address/],
    ['no iptables', BRIDGE, ({ host }) => host.run('iptables', ['-t', 'nat', '-F']), /10\.9\.0\.2\/24 is not masq/],
    [
      'no nftables',
      { ...BRIDGE, ipMasqBackend: 'nftables' },
      (scene) => nft(scene, 'flush', 'chain', 'inet', 'cni_plugins_masquerade', 'masq_checks'),
      /10\.9\.0\.2\/24 is not masqueraded any more/,
    ],
    [
      'no way to the rules',
      { ...BRIDGE, ipMasqBackend: 'nftables' },
      (scene) => nft(scene, 'flush', 'chain', 'inet', 'cni_plugins_masquerade', 'postrouting'),
      /is not masqueraded any more/,
    ],
    [
      'any MAC',
      BRIDGE,
      (scene) => nft(scene, 'flush', 'chain', 'bridge', 'nat', 'PREROUTING'),
      /the MACs that veth\w+ sends by are not checked any more/,
    ],
    ['no spoof check at all', BRIDGE, (scene) => nft(scene, 'delete', 'table', 'bridge', 'nat'), /are not checked any/],
  ],
  ptp: [
    ['the host’s end is down', PTP, ({ host, end }) => host.ip('link', 'set', end, 'down'), /^veth\w+ is down/],
    [
      'no gateway',
      PTP,
      async ({ host, end }) => {
        await host.ip('addr', 'del', '10.9.0.1/32', 'dev', end);
        await host.ip('route', 'replace', '10.9.0.2', 'dev', end);
      },
      /lacks the gateway's address 10\.9\.0\.1/,
    ],
    ['no route', PTP, ({ host }) => host.ip('route', 'del', '10.9.0.2'), /the host has no route to 10\.9\.0\.2\/32/],
    ['no masquerade', PTP, ({ host }) => host.run('iptables', ['-t', 'nat', '-F']), /is not masqueraded any more/],
  ],
};

for (const [type, cases] of Object.entries(CASES))
  for (const [what, conf, change, noticed] of cases)
    test(`CHECK of ${type} notices: ${what}`, async (t) => {
      const { attach } = await setUp(t);
      const { check, detach, ...scene } = await attach(type, conf);
      t.is(await check(), undefined, 'untouched');
      await change(scene);
      t.regex((await check()) ?? 'nothing', noticed);
      t.is((await detach()).status, 0);
    });

for (const [type, conf] of [
  ['bridge', BRIDGE],
  ['ptp', PTP],
] as const)
  (hasReference ? test : test.skip)(
    `CHECK of ${type} is content with what the reference plugin made${hasReference ? '' : ' (containernetworking-plugins of Debian could not be had)'}`,
    async (t) => {
      const { check, detach } = await (await setUp(t)).attach(type, conf, 'reference');
      t.is(await check(), undefined);
      t.is((await detach()).status, 0);
    },
  );
