import test from 'ava';
import { createPortmap, renderMappingRemoval, renderMappings } from '../../../cni/plugins/portmap.ts';

test('mappings: one rule each, by address where one is given, and the masquerade of the way back', (t) => {
  const script = renderMappings('abc', '10.244.1.5', [
    { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    { hostPort: 53, containerPort: 5353, protocol: 'udp', hostIP: '192.0.2.1' },
    { hostPort: 9, containerPort: 9, protocol: 'sctp', hostIP: '0.0.0.0' },
  ]);
  t.deepEqual(
    script.split('\n').filter((line) => line.includes('"abc"')),
    [
      'add rule ip berth-hostports hostports tcp dport 8080 dnat to 10.244.1.5:80 comment "abc"',
      'add rule ip berth-hostports hostip_hostports ip daddr 192.0.2.1 udp dport 53 dnat to 10.244.1.5:5353 comment "abc"',
      'add rule ip berth-hostports hostports sctp dport 9 dnat to 10.244.1.5:9 comment "abc"',
      'add rule ip berth-hostports masquerading ip saddr 10.244.1.5 ip daddr 10.244.1.5 masquerade comment "abc"',
      'add rule ip berth-hostports masquerading ip saddr 127.0.0.1 ip daddr 10.244.1.5 masquerade comment "abc"',
    ],
  );
});

const chain = { chain: { name: 'hostports' } };
const jump = { rule: { chain: 'prerouting', handle: 1 } };
const rule = (chainName: string, handle: number, comment: string) => ({ rule: { chain: chainName, handle, comment } });

test('removal: the container’s rules by handle, the table with the last of them', (t) => {
  const objects = [chain, jump, rule('hostports', 4, 'a'), rule('masquerading', 5, 'a'), rule('hostports', 6, 'b')];
  t.is(
    renderMappingRemoval(objects, (id) => id !== 'a'),
    'delete rule ip berth-hostports hostports handle 4\ndelete rule ip berth-hostports masquerading handle 5\n',
  );
  t.is(
    renderMappingRemoval(objects, () => false),
    'delete table ip berth-hostports\n',
  );
  t.is(
    renderMappingRemoval(objects, () => true),
    '',
  );
  t.is(
    renderMappingRemoval([chain, jump], () => true),
    'delete table ip berth-hostports\n',
    'left over by a crash',
  );
  t.is(
    renderMappingRemoval([], () => false),
    '',
  );
});

test('a node without host ports is looked at once', async (t) => {
  const calls: string[] = [];
  const portmap = createPortmap({
    nft: {
      tables: async () => {
        calls.push('tables');
        return [{ family: 'inet', name: 'berth' }];
      },
      list: async () => [],
      apply: async (script) => void calls.push(script.split('\n')[0]!),
    },
    allowLocalhost: () => {},
    forgetUdpFlows: async () => {},
  });
  for (let round = 0; round < 3; round++) await portmap.gc({ mappings: [] }, []);
  t.deepEqual(calls, ['tables']);
  const request = { containerId: 'a', ifname: 'eth0', netns: '', args: {} };
  const previous = { interfaces: [], ips: [{ address: '10.244.1.5/24' }], routes: [] };
  await portmap.add({ mappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }] }, request, previous);
  await portmap.gc({ mappings: [] }, []);
  t.deepEqual(calls, ['tables', 'add table ip berth-hostports', 'tables']);
  await t.throwsAsync(portmap.add({ mappings: [] }, request), { code: 7 });
});
