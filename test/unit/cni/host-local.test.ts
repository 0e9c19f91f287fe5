import { chmodSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createHostLocal, type HostLocalConfig } from '../../../cni/ipam/host-local.ts';
import type { CniResult } from '../../../cni/types.ts';
import { flock, LOCK_EX, LOCK_UN } from '../../../src/linux/libc.ts';
import { systemClock } from '../../../src/runtime/clock.ts';

function setUp(t: ExecutionContext, subnet = '10.1.2.0/29') {
  const dataDir = mkdtempSync(join(tmpdir(), 'host-local-'));
  t.teardown(() => rmSync(dataDir, { recursive: true }));
  const config: HostLocalConfig = { network: 'net1', dataDir, ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] };
  const directory = join(dataDir, 'net1');
  return { dataDir, directory, config, ipam: createHostLocal(systemClock) };
}

const attachment = (containerId: string, ifname = 'eth0') => ({ containerId, ifname, netns: '', args: {} });
const ipOf = (result: CniResult) => result.ips[0]?.address;

test('the layout on disk is the reference plugin’s', async (t) => {
  const { ipam, config, directory } = setUp(t);
  const result = await ipam.add(config, attachment('abc'));
  t.deepEqual(result, {
    interfaces: [],
    ips: [{ address: '10.1.2.2/29', gateway: '10.1.2.1' }],
    routes: [{ dst: '0.0.0.0/0' }],
  });
  t.deepEqual(readdirSync(directory).toSorted(), ['10.1.2.2', 'last_reserved_ip.0', 'lock']);
  t.is(readFileSync(join(directory, '10.1.2.2'), 'utf8'), 'abc\r\neth0');
  t.is(readFileSync(join(directory, 'last_reserved_ip.0'), 'utf8'), '10.1.2.2');
});

test('round robin: a freed address is given again last', async (t) => {
  const { ipam, config } = setUp(t);
  t.is(ipOf(await ipam.add(config, attachment('a'))), '10.1.2.2/29');
  await ipam.del(config, attachment('a'));
  t.is(ipOf(await ipam.add(config, attachment('b'))), '10.1.2.3/29');
});

test('a second ADD of the same attachment is refused, another interface is not', async (t) => {
  const { ipam, config } = setUp(t);
  await ipam.add(config, attachment('a'));
  await t.throwsAsync(ipam.add(config, attachment('a')), {
    code: 101,
    message: /10.1.2.2 has been allocated to a eth0/,
  });
  t.is(ipOf(await ipam.add(config, attachment('a', 'net1'))), '10.1.2.3/29');
});

test('exhaustion names the range; a DEL makes room', async (t) => {
  const { ipam, config } = setUp(t);
  for (const id of ['a', 'b', 'c', 'd', 'e']) await ipam.add(config, attachment(id));
  await t.throwsAsync(ipam.add(config, attachment('f')), {
    code: 100,
    message: 'failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.6',
  });
  await ipam.del(config, attachment('c'));
  t.is(ipOf(await ipam.add(config, attachment('f'))), '10.1.2.4/29');
});

test('parallel ADDs of two processes never share an address', async (t) => {
  const { config } = setUp(t, '10.1.2.0/24');
  const [one, two] = [createHostLocal(systemClock), createHostLocal(systemClock)];
  const ids = Array.from({ length: 60 }, (_, n) => `id${n}`);
  const ips = await Promise.all(ids.map(async (id, n) => ipOf(await (n % 2 ? one : two).add(config, attachment(id)))));
  t.is(new Set(ips).size, 60);
});

test('waits for the lock of another process', async (t) => {
  const { ipam, config, directory } = setUp(t);
  mkdirSync(directory);
  const other = openSync(join(directory, 'lock'), 'a+');
  flock(other, LOCK_EX, 'lock');
  let done = false;
  const adding = ipam.add(config, attachment('a')).then((result) => {
    done = true;
    return result;
  });
  await systemClock.sleep(50);
  t.false(done);
  flock(other, LOCK_UN, 'lock');
  t.is(ipOf(await adding), '10.1.2.2/29');
});

test('DEL is idempotent and takes what the reference plugin wrote', async (t) => {
  const { ipam, config, directory } = setUp(t);
  await ipam.del(config, attachment('nobody'));
  writeFileSync(join(directory, '10.1.2.4'), 'theirs\r\neth0');
  writeFileSync(join(directory, '10.1.2.5'), 'theirs');
  writeFileSync(join(directory, '10.1.2.6'), 'theirs\r\nnet1');
  await ipam.del(config, attachment('theirs'));
  t.deepEqual(readdirSync(directory).toSorted(), ['10.1.2.6', 'lock']);
});

test('CHECK finds the reservation or says what is missing', async (t) => {
  const { ipam, config } = setUp(t);
  const nothing = { interfaces: [], ips: [], routes: [] };
  await t.throwsAsync(ipam.check(config, attachment('a'), nothing), { message: /no address is reserved for a eth0/ });
  await ipam.add(config, attachment('a'));
  await t.notThrowsAsync(ipam.check(config, attachment('a'), nothing));
});

test('GC keeps the valid ones and frees the rest, an empty file of a crash too', async (t) => {
  const { ipam, config, directory } = setUp(t);
  for (const id of ['a', 'b', 'c']) await ipam.add(config, attachment(id));
  writeFileSync(join(directory, '10.1.2.6'), '');
  await ipam.gc(config, [{ containerId: 'b', ifname: 'eth0' }]);
  t.deepEqual(
    (await ipam.leases(config)).map(({ ip, containerId }) => `${ip} ${containerId}`),
    ['10.1.2.3 b'],
  );
});

test('after a restart the leases are known without waiting', async (t) => {
  const { ipam, config } = setUp(t);
  await ipam.add(config, attachment('a'));
  const restarted = createHostLocal(systemClock);
  t.deepEqual(restarted.heldBy(config, 'a'), [{ ip: '10.1.2.2', containerId: 'a', ifname: 'eth0' }]);
  t.deepEqual(restarted.heldBy(config, 'b'), []);
  await restarted.del(config, attachment('a'));
  t.deepEqual(restarted.heldBy(config, 'a'), []);
});

test('STATUS says when the directory is unusable', async (t) => {
  const { ipam, config, dataDir } = setUp(t);
  await t.notThrowsAsync(ipam.status(config));
  writeFileSync(join(dataDir, 'file'), '');
  chmodSync(join(dataDir, 'file'), 0o600);
  await t.throwsAsync(ipam.status({ ...config, dataDir: join(dataDir, 'file') }), { code: 50 });
  await t.throwsAsync(ipam.add({ ...config, dataDir: join(dataDir, 'file') }, attachment('a')), { code: 5 });
});
