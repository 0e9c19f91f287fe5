/** Whose leases a DHCP daemon takes over: what libcni's files say. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { CachedAttachment } from '../../../../cni/invoke/attachment-cache.ts';
import { dhcpAttachments } from '../../../../cni/invoke/dhcp-attachments.ts';
import { createLeaseFiles } from '../../../../cni/ipam/dhcp/lease-files.ts';
import { keptByProcess } from '../../../../cni/ipam/dhcp/process-leases.ts';

const SOCKETS = { socketPath: '/run/cni/dhcp.sock', defaultSocketPath: '/run/cni/dhcp.sock' };
const interfaces = [
  { name: 'veth1', sandbox: '' },
  { name: 'eth0', sandbox: '/run/netns/one' },
];
const ips = [{ address: 'fd00::9/64' }, { address: '10.5.0.9/24', interface: 1 }];
const bridge = { type: 'bridge', ipam: { type: 'dhcp', request: [{ option: '6' }] } };

function attachment(configuration: unknown, more: Partial<CachedAttachment> = {}): CachedAttachment {
  return {
    network: 'lan',
    containerId: 'one',
    ifname: 'eth0',
    netns: '',
    configuration: typeof configuration === 'string' ? configuration : JSON.stringify(configuration),
    args: { K8S_POD_NAME: 'web' },
    capabilityArgs: {},
    result: { interfaces, ips },
    isOurs: false,
    isOfEarlierBoot: false,
    ...more,
  };
}

const FOUND = {
  request: { containerId: 'one', ifname: 'eth0', netns: '/run/netns/one', args: { K8S_POD_NAME: 'web' } },
  conf: { ...bridge, name: 'lan' },
  address: '10.5.0.9',
};

for (const [what, given, found] of [
  ['a plugin of a list', attachment({ name: 'lan', plugins: [{ type: 'tuning' }, bridge] }), [FOUND]],
  ['a single plugin', attachment(bridge), [FOUND]],
  [
    'a namespace that the runtime tells',
    attachment(bridge, { netns: '/proc/7/ns/net' }),
    [{ ...FOUND, request: { ...FOUND.request, netns: '/proc/7/ns/net' } }],
  ],
  ['another manager', attachment({ type: 'bridge', ipam: { type: 'host-local' } }), []],
  [
    'another daemon’s socket',
    attachment({ type: 'bridge', ipam: { ...bridge.ipam, daemonSocketPath: '/d.sock' } }),
    [],
  ],
  ['a pod of the agent', attachment(bridge, { isOurs: true }), [FOUND]],
  ['before the machine was started', attachment(bridge, { isOfEarlierBoot: true }), []],
  ['an ADD that failed', attachment(bridge, { result: undefined }), []],
  ['no address of IPv4', attachment(bridge, { result: { interfaces, ips: [ips[0]] } }), []],
  ['no namespace', attachment(bridge, { result: { ips } }), []],
  ['no configuration', attachment(undefined), []],
  ['a broken configuration', attachment('{'), []],
  ['a configuration of odd types', attachment({ plugins: [null, 7, { ipam: 'dhcp' }] }), []],
  ['a result of odd types', attachment(bridge, { result: { interfaces: 'x', ips: [null, { address: 7 }] } }), []],
] as const)
  test(`${what}: ${found.length > 0 ? 'taken over' : 'left alone'}`, (t) => {
    t.deepEqual<unknown, unknown>(dhcpAttachments([given], SOCKETS), found);
  });

test('a daemon on a socket of its own takes over what names that socket', (t) => {
  const named = { type: 'bridge', ipam: { ...bridge.ipam, daemonSocketPath: '/d.sock' } };
  const found = dhcpAttachments([attachment(named), attachment(bridge)], { ...SOCKETS, socketPath: '/d.sock' });
  t.deepEqual(
    found.map(({ conf }) => conf),
    [{ ...named, name: 'lan' }],
  );
});

test('what the agent keeps itself is known by its files', (t) => {
  const host = mkdtempSync(join(tmpdir(), 'berth-dhcp-host-'));
  t.teardown(() => rmSync(host, { recursive: true, force: true }));
  const key = { network: 'lan', containerId: 'one', ifname: 'eth0' };
  t.false(keptByProcess(host)(key), 'there is no agent');
  createLeaseFiles(join(host, 'run/cni/dhcp-berth')).write({
    key,
    netns: '/n',
    netnsId: '4:1',
    options: { request: [], provide: [] },
    broadcast: false,
    ack: new Uint8Array(),
    sinceMs: 1,
  });
  const isKept = keptByProcess(host);
  t.true(isKept(key));
  t.false(isKept({ ...key, containerId: 'two' }));
});
