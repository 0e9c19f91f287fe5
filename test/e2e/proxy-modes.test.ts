/** `berth up` with each mode of the proxy that this kernel has: services answer, and down leaves nothing of it. */
import test from 'ava';
import { type ClusterHost, createClusterHost, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';

const isFull = process.env.BERTH_TEST_FULL === '1';
const story = whyNoHost() || !isFull ? test.skip : test.serial;

let cluster: ClusterHost;
let before: HostSnapshot;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('modes');
  before = await cluster.snapshot();
});
test.after.always(() => cluster?.close());

for (const [asked, running] of [
  ['auto', 'nftables'],
  ['userspace', 'userspace'],
] as const)
  story(`up --proxy-mode ${asked} (only with --full)`, async (t) => {
    await cluster.berthOk('up', '--proxy-mode', asked);
    t.is(await cluster.sh('curl -s http://127.0.0.1:10249/proxyMode'), running);
    const version = () => cluster.try(['curl', '-sk', '--max-time', '2', 'https://10.96.0.1/version']);
    await until('the API server answers at its cluster IP', async () =>
      (await version()).stdout.includes('gitVersion'),
    );
    const refused = await cluster.try(['curl', '-sk', '--max-time', '2', 'https://10.96.0.1:444/']);
    t.not(refused.code, 0);
    t.is((await cluster.try(['curl', '-sf', 'http://127.0.0.1:10256/healthz'])).code, 0);
    await cluster.berthOk('down', '--purge');
    t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
  });
