import test from 'ava';
import type { Peer } from '../../../cni/overlay/backend.ts';
import { readBackendFields } from '../../../cni/overlay/backend-fields.ts';
import {
  COMMAND_BYTES,
  decodeCommand,
  encodeCommand,
  type MoverCommand,
} from '../../../cni/overlay/udp/mover-protocol.ts';
import { readUdpOptions } from '../../../cni/overlay/udp/options.ts';
import { computePeer } from '../../../cni/overlay/udp/peer-plan.ts';

test("options: flannel's port", (t) => {
  t.deepEqual(readUdpOptions(readBackendFields({ Type: 'udp' }, 'net-conf.json')), { port: 8285 });
  t.throws(() => readUdpOptions(readBackendFields({ Port: 0 }, 'net-conf.json')), {
    message: /Backend\.Port: 0 is not/,
  });
});

test('commands to the thread are what they were, in records of one length', (t) => {
  const route = { network: Uint8Array.of(10, 244, 2, 0), prefixLength: 24, destination: Uint8Array.of(192, 0, 2, 2) };
  for (const command of [{ kind: 'set', route }, { kind: 'remove', route }, { kind: 'stop' }] as MoverCommand[]) {
    const record = encodeCommand(command);
    t.is(record.length, COMMAND_BYTES);
    const { kind, ...rest } = decodeCommand(record);
    t.is(kind, command.kind);
    if ('route' in rest)
      t.deepEqual(
        { ...rest.route, network: [...rest.route.network], destination: [...rest.route.destination] },
        { ...route, network: [...route.network], destination: [...route.destination] },
      );
  }
});

test('a peer: where its packets go, or why nowhere', (t) => {
  const peer: Peer = {
    node: 'node2',
    podCidrs: { 4: '10.244.2.0/24' },
    publicIps: { 4: '192.0.2.2' },
    backendType: 'udp',
    backendData: {},
  };
  const self = { publicIps: { 4: '192.0.2.1' } };
  const { route } = computePeer(peer, self);
  t.deepEqual([...route!.network], [10, 244, 2, 0]);
  t.deepEqual([...route!.destination], [192, 0, 2, 2]);
  t.is(route!.prefixLength, 24);
  for (const [change, reason] of [
    [{ backendType: 'vxlan' }, 'its backend is vxlan, ours udp'],
    [{ publicIps: {} }, 'it has no public IPv4 address'],
    [{ publicIps: { 4: '192.0.2.1' } }, "its address 192.0.2.1 is this node's own"],
    [{ podCidrs: { 6: 'fd00:2::/64' } }, 'its pods have IPv6 alone, and backend udp IPv4'],
  ] as [Partial<Peer>, string][])
    t.deepEqual(computePeer({ ...peer, ...change }, self), { reason });
  t.deepEqual(computePeer({ ...peer, podCidrs: {} }, self), {});
});
