import test from 'ava';
import { checkNodeNameIsFree } from '../../../cli/preflight/node-name.ts';
import { leases, nodes } from '../../../src/kube/resources.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { createFakeKubeClient } from '../../fakes/kube-client.ts';

const LEASE = 'kube-node-lease/two';

/** A Node `two` at 192.0.2.2 with a Lease, and a host at `address` that would like its name. */
function scene(address: string, ready: 'True' | 'Unknown' = 'True') {
  const clock = createFakeClock();
  const client = createFakeKubeClient(clock);
  const conditions = [{ type: 'Ready', status: ready, lastTransitionTime: '', lastHeartbeatTime: '' }];
  const addresses = [{ type: 'InternalIP', address: '192.0.2.2' }];
  client.seed(nodes, { metadata: { name: 'two' }, spec: {}, status: { conditions, addresses } });
  const spec = { holderIdentity: 'two', leaseDurationSeconds: 40, renewTime: '2026-01-01T00:00:00.000000Z' };
  client.seed(leases, { metadata: { name: 'two', namespace: 'kube-node-lease' }, spec });
  const asked = checkNodeNameIsFree(
    { nodeName: 'two', nodeIps: [address] },
    { client, clock, signal: new AbortController().signal },
  );
  return { clock, client, asked };
}

test('a name that lives on another host is refused as soon as its lease is renewed', async (t) => {
  const { clock, client, asked } = scene('192.0.2.3');
  const refused = t.throwsAsync(asked, { message: /node two lives already, .* 192\.0\.2\.2: .*--node-name/ });
  await clock.advance(9000);
  client.edit(leases, LEASE, (lease) => {
    lease.spec!.renewTime = '2026-01-01T00:00:10.000000Z';
  });
  await clock.advance(1000);
  await refused;
});

test('a host that died is replaced after half a lease without renewal', async (t) => {
  const { clock, asked } = scene('192.0.2.3');
  await clock.advance(20_500);
  await t.notThrowsAsync(asked);
});

for (const [what, made] of [
  ['the same host', () => scene('192.0.2.2')],
  ['a node that is known to be silent', () => scene('192.0.2.3', 'Unknown')],
] as const)
  test(`${what} may start at once`, async (t) => {
    await t.notThrowsAsync(made().asked);
  });
