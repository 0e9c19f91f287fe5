/** Rules of pods that run: looked at by one pod a network, written again where that one has lost them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type CachedAttachment, openAttachmentCache } from '../../../../cni/invoke/attachment-cache.ts';
import { buildBuiltinNetwork } from '../../../../cni/invoke/builtin-network.ts';
import { createRuleKeeper } from '../../../../cni/invoke/rule-keeper.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

const CHAIN = {
  cniVersion: '1.0.0',
  name: 'net',
  plugins: [
    { type: 'bridge' },
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'firewall' },
    { type: 'theirs' },
  ],
};
const PORTS = { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }] };
const BUILTIN = { name: 'berth', bridge: 'cni0', dataDir: '/nowhere', podCidrs: ['10.9.0.0/24'], mtu: undefined };

function setUp(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'rule-keeper-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const cache = openAttachmentCache(folder);
  const state = { hasIpvs: false, lost: new Set<string>(), programs: new Set<string>(), isHopeless: false };
  let calls: string[] = [];
  type Call = { conf: Record<string, unknown> };
  const said = (command: string, { containerId }: { containerId: string }, { conf }: Call) => {
    const backend = conf['backend'] === undefined ? '' : ` ${conf['backend']}`;
    calls.push(`${command} ${conf['type']}${backend} ${containerId}`);
    return `${conf['type']} ${containerId}`;
  };
  const caller = {
    locate: (type: string) => (state.programs.has(type) ? `/opt/cni/bin/${type}` : undefined),
    async check(request: never, call: Call) {
      if (state.lost.has(said('CHECK', request, call))) throw new Error('lost');
    },
    async add(request: never, call: Call) {
      const what = said('ADD', request, call);
      if (!state.isHopeless) state.lost.delete(what);
    },
    del: async (request: never, call: Call) => void said('DEL', request, call),
  };
  const keeper = createRuleKeeper({
    cache,
    caller: caller as never,
    alone: (_id, work) => work(),
    builtin: (needs) => buildBuiltinNetwork({ ...BUILTIN, hasIpvs: state.hasIpvs }, needs),
    // This process's namespace stands for a container's.
    hostNetns: '/nowhere',
    log: silentLogger,
    clock: createFakeClock(),
  });
  const put = (containerId: string, more: Partial<CachedAttachment> = {}) =>
    cache.put({
      network: 'net',
      containerId,
      ifname: 'eth0',
      netns: '/proc/self/ns/net',
      configuration: JSON.stringify(CHAIN),
      args: {},
      capabilityArgs: PORTS,
      result: { cniVersion: '1.0.0', interfaces: [], ips: [{ address: '10.9.0.2/24' }] },
      isOurs: true,
      isOfEarlierBoot: false,
      ...more,
    });
  /** What one look calls. */
  const look = async () => {
    calls = [];
    await keeper.look();
    return calls;
  };
  return { cache, state, put, look };
}

test('one pod tells of all, another one each time; a loss makes it look at every one', async (t) => {
  const { state, put, look } = setUp(t);
  for (const id of ['a', 'b', 'c']) await put(id);
  t.deepEqual(await look(), ['CHECK portmap b', 'CHECK firewall b']);
  t.deepEqual(await look(), ['CHECK portmap c', 'CHECK firewall c']);
  for (const id of ['a', 'b', 'c']) state.lost.add(`portmap ${id}`);
  const again = (id: string) => [`CHECK portmap ${id}`, `ADD portmap ${id}`, `CHECK portmap ${id}`];
  t.deepEqual(await look(), [...again('a'), ...again('b'), ...again('c'), 'CHECK firewall a']);
  t.is((await look()).length, 2);
});

test('only what is kept: pods with ports, attachments of ours that are whole, plugins of this process, networks with CHECK', async (t) => {
  const { cache, state, put, look } = setUp(t);
  await put('plain', { capabilityArgs: {} });
  t.deepEqual(await look(), ['CHECK firewall plain']);
  state.programs.add('firewall');
  t.deepEqual(await look(), [], 'a program may not bear a second ADD');
  await cache.remove({ network: 'net', containerId: 'plain', ifname: 'eth0' });
  await put('foreign', { isOurs: false });
  await put('half', { result: undefined });
  await put('gone', { netns: '/proc/0/ns/net' });
  await put('unchecked', { configuration: JSON.stringify({ ...CHAIN, disableCheck: true }) });
  await put('old', { configuration: JSON.stringify({ ...CHAIN, cniVersion: '0.3.1' }) });
  t.deepEqual(await look(), []);
});

test('what an ADD does not mend is not written again and again', async (t) => {
  const { state, put, look } = setUp(t);
  state.isHopeless = true;
  await put('a');
  state.lost.add('portmap a');
  t.deepEqual(await look(), ['CHECK portmap a', 'ADD portmap a', 'CHECK portmap a', 'CHECK firewall a']);
  t.deepEqual(await look(), ['CHECK firewall a']);
});

test('the built-in network: host ports move to the other backend when the proxy’s mode becomes ipvs, and back', async (t) => {
  const { cache, state, put, look } = setUp(t);
  const { text } = buildBuiltinNetwork(BUILTIN, ['portMappings']);
  await put('a', { network: 'berth', configuration: text });
  t.deepEqual(await look(), ['CHECK portmap nftables a']);
  state.hasIpvs = true;
  t.deepEqual(await look(), ['DEL portmap nftables a', 'ADD portmap iptables a']);
  t.deepEqual(await look(), ['CHECK portmap iptables a'], 'it is kept with the attachment');
  t.deepEqual(
    JSON.parse(cache.of('a')[0]!.configuration!).plugins.map(({ type }: { type: string }) => type),
    ['bridge', 'portmap'],
  );
  state.hasIpvs = false;
  t.deepEqual(await look(), ['DEL portmap iptables a', 'ADD portmap nftables a']);
});
