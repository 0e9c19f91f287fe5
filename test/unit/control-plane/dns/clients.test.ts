import test from 'ava';
import { createClients } from '../../../../control-plane/dns/clients.ts';

test('pods, this host and the nodes are answered; strangers are not', (t) => {
  let nowMs = 0;
  const nodes = ['192.0.2.7'];
  const clients = createClients(
    { networks: ['10.244.0.0/16', 'fd00::/64'] },
    { nodeAddresses: () => nodes, nowMs: () => nowMs },
  );
  for (const address of ['10.244.9.1', '::ffff:10.244.9.1', 'fd00::1', '127.0.0.1', '127.0.0.53', '::1', '192.0.2.7'])
    t.true(clients.allows(address), address);
  for (const address of ['10.245.0.1', '192.0.2.8', '2001:db8::1', 'fe80::1%eth0'])
    t.false(clients.allows(address), address);
  nodes.push('192.0.2.8');
  t.false(clients.allows('192.0.2.8'), 'remembered');
  nowMs = 10_001;
  t.true(clients.allows('192.0.2.8'));
});
