import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
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
  await t.throwsAsync(ipam.check(config, attachment('a'), nothing), {
    code: 0,
    message: /no address is reserved for a eth0/,
  });
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

test('after a restart everything is as it was: the leases, and where the search goes on', async (t) => {
  const { ipam, config } = setUp(t);
  await ipam.add(config, attachment('a'));
  await ipam.add(config, attachment('b'));
  await ipam.del(config, attachment('a'));
  const restarted = createHostLocal(systemClock);
  t.deepEqual(await restarted.leases(config), [{ ip: '10.1.2.3', containerId: 'b', ifname: 'eth0' }]);
  t.is(ipOf(await restarted.add(config, attachment('c'))), '10.1.2.4/29');
});

test('STATUS says when the directory is unusable', async (t) => {
  const { ipam, config, dataDir } = setUp(t);
  await t.notThrowsAsync(ipam.status(config));
  writeFileSync(join(dataDir, 'file'), '');
  chmodSync(join(dataDir, 'file'), 0o600);
  await t.throwsAsync(ipam.status({ ...config, dataDir: join(dataDir, 'file') }), { code: 50 });
  await t.throwsAsync(ipam.add({ ...config, dataDir: join(dataDir, 'file') }, attachment('a')), { code: 5 });
});

const RANGES = [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:7::/64' }]];

test('requested addresses are given, one of each set; what is not asked for is chosen', async (t) => {
  const { ipam, config, directory } = setUp(t);
  const both = { ...config, ranges: RANGES, requested: ['fd00:7:0::9', '10.1.2.77/24'] };
  const { ips } = await ipam.add(both, attachment('a'));
  t.deepEqual(
    ips.map(({ address }) => address),
    ['10.1.2.77/24', 'fd00:7::9/64'],
  );
  const next = await ipam.add({ ...config, ranges: RANGES, requested: ['10.1.2.9'] }, attachment('b'));
  t.deepEqual(
    next.ips.map(({ address }) => address),
    ['10.1.2.9/24', 'fd00:7::a/64'],
  );
  t.true(readdirSync(directory).includes('fd00:7::9'));
});

for (const [what, requested, error] of [
  ['outside of every set', ['10.9.9.9'], { code: 7, message: 'failed to allocate all requested IPs: 10.9.9.9' }],
  ['two of one set', ['10.1.2.7', '10.1.2.8'], { code: 7, message: /all requested IPs: 10.1.2.8$/ }],
  [
    'the gateway',
    ['10.1.2.1'],
    { code: 7, message: "failed to allocate for range 0: requested ip 10.1.2.1 is subnet's gateway" },
  ],
  ['no address', ['ten'], { code: 7, message: /"ten" is none/ }],
  [
    'another’s',
    ['fd00:7::5'],
    {
      code: 102,
      message:
        'failed to allocate for range 1: requested IP address fd00:7::5 is not available in range set fd00:7::1-fd00:7::ffff:ffff:ffff:ffff',
    },
  ],
] as const)
  test(`a requested address that is ${what} is refused, and nothing half-made remains`, async (t) => {
    const { ipam, config, directory } = setUp(t);
    mkdirSync(directory);
    writeFileSync(join(directory, 'fd00:7::5'), 'somebody\r\neth0');
    await t.throwsAsync(ipam.add({ ...config, ranges: RANGES, requested }, attachment('a')), error);
    t.deepEqual(
      (await ipam.leases(config)).map(({ ip }) => ip),
      ['fd00:7::5'],
    );
  });

test('exhausted in the second set: the first set’s address is given back', async (t) => {
  const { ipam, config } = setUp(t);
  const ranges = [[{ subnet: '10.1.2.0/24' }], [{ subnet: '10.1.3.0/30' }]];
  await ipam.add({ ...config, ranges }, attachment('a'));
  const error = await t.throwsAsync(ipam.add({ ...config, ranges }, attachment('b')), {
    code: 100,
    message: 'failed to allocate for range 1: no IP addresses available in range set: 10.1.3.1-10.1.3.2',
  });
  t.is((error as unknown as { details: string }).details, 'network net1: 2 addresses are in use');
  t.is((await ipam.leases(config)).length, 2);
});

test('resolvConf becomes dns; one that is not there is refused before an address is taken', async (t) => {
  const { ipam, config, dataDir } = setUp(t);
  const resolvConf = join(dataDir, 'resolv.conf');
  await t.throwsAsync(ipam.add({ ...config, resolvConf }, attachment('a')), {
    code: 7,
    message: /resolv.conf can't be read/,
  });
  writeFileSync(resolvConf, '# ours\nnameserver 10.0.0.10\nsearch a.example b.example\noptions ndots:5\n');
  const { dns } = await ipam.add({ ...config, resolvConf }, attachment('a'));
  t.deepEqual(dns, { nameservers: ['10.0.0.10'], search: ['a.example', 'b.example'], options: ['ndots:5'] });
});

test('R2: an address that was just released rests while there are others, and is the last to be given', async (t) => {
  const { config } = setUp(t);
  let nowMs = 0;
  const ipam = createHostLocal({ sleep: systemClock.sleep, monotonicMs: () => nowMs });
  for (const id of ['a', 'b', 'c', 'd']) await ipam.add(config, attachment(id)); // .2 to .5
  await ipam.del(config, attachment('b')); // .3
  nowMs += 1000;
  await ipam.del(config, attachment('a')); // .2
  t.is(ipOf(await ipam.add(config, attachment('e'))), '10.1.2.6/29');
  t.is(ipOf(await ipam.add(config, attachment('f'))), '10.1.2.3/29', 'no other is left: the one that rested longer');
  await ipam.del(config, attachment('f'));
  nowMs += 61_000;
  await ipam.del(config, attachment('e'));
  t.is(ipOf(await ipam.add(config, attachment('g'))), '10.1.2.2/29', 'after a minute it is as good as any');
});

test('R2: a range nearly full gives an address back to nobody at once while one is free', async (t) => {
  const { config } = setUp(t, '10.1.2.0/28');
  const ipam = createHostLocal(systemClock);
  for (let n = 0; n < 12; n++) await ipam.add(config, attachment(`pod${n}`)); // one of 13 is free
  for (let n = 0; n < 12; n++) {
    const held = (await ipam.leases(config)).find(({ containerId }) => containerId === `pod${n}`)!.ip;
    await ipam.del(config, attachment(`pod${n}`));
    t.not(ipOf(await ipam.add(config, attachment(`new${n}`))), `${held}/28`);
  }
});

test('what another process did in between is seen: an address that changed hands is not taken from its new owner', async (t) => {
  const { ipam, config, directory } = setUp(t);
  await ipam.add(config, attachment('a'));
  // The reference plugin detaches a, and attaches b at the same address.
  rmSync(join(directory, '10.1.2.2'));
  writeFileSync(join(directory, '10.1.2.2'), 'b-longer\r\neth0');
  await ipam.del(config, attachment('a'));
  t.deepEqual(
    (await ipam.leases(config)).map(({ ip, containerId }) => `${ip} ${containerId}`),
    ['10.1.2.2 b-longer'],
  );
  await ipam.del(config, attachment('b-longer'));
  t.deepEqual(await ipam.leases(config), []);
});

test('huge ranges cost nothing: a /8 and a /64 with rows of taken addresses', async (t) => {
  const { ipam, config, directory } = setUp(t);
  const ranges = [[{ subnet: '10.0.0.0/8' }], [{ subnet: 'fd00:8::/64' }]];
  mkdirSync(directory);
  for (let n = 2; n < 600; n++) writeFileSync(join(directory, `10.0.${n >> 8}.${n & 255}`), `x${n}\r\neth0`);
  const before = process.memoryUsage().heapUsed;
  const { ips } = await ipam.add({ ...config, ranges }, attachment('a'));
  t.true(process.memoryUsage().heapUsed - before < 100e6, 'nobody lists a range');
  t.deepEqual(
    ips.map(({ address }) => address),
    ['10.0.2.88/8', 'fd00:8::2/64'],
  );
});

test('a hundred at once in one process have a hundred addresses', async (t) => {
  const { ipam, config } = setUp(t, '10.1.0.0/24');
  const ids = Array.from({ length: 100 }, (_, n) => `id${n}`);
  const ips = await Promise.all(ids.map(async (id) => ipOf(await ipam.add(config, attachment(id)))));
  t.is(new Set(ips).size, 100);
});

test('a dataDir below /proc is refused: no directory is made there, ever', async (t) => {
  const { ipam, config } = setUp(t);
  for (const dataDir of ['/proc/none/below', '/proc/self/none'])
    await t.throwsAsync(ipam.add({ ...config, dataDir }, attachment('a')), {
      code: 5,
      message: /can't keep addresses in \/proc/,
    });
  await t.throwsAsync(ipam.status({ ...config, dataDir: '/proc/none' }), { code: 50 });
});

test('a gateway that a container has is refused by name, and nothing is reserved', async (t) => {
  const { ipam, config, directory } = setUp(t);
  mkdirSync(directory);
  writeFileSync(join(directory, '10.1.2.1'), 'earlier\r\neth0');
  const error = await t.throwsAsync(ipam.add(config, attachment('a')), {
    code: 102,
    message: 'failed to allocate for range 0: the gateway 10.1.2.1 is in use',
  });
  t.regex((error as unknown as { details: string }).details, /network net1: earlier eth0 has it/);
  t.is((await ipam.leases(config)).length, 1);
  await ipam.del(config, attachment('earlier'));
  t.is(ipOf(await ipam.add(config, attachment('a'))), '10.1.2.2/29');
});

test('an ADD that cannot write down where it stopped leaves no lease', async (t) => {
  const { ipam, config, directory } = setUp(t);
  mkdirSync(join(directory, 'last_reserved_ip.0.new'), { recursive: true });
  await t.throwsAsync(ipam.add(config, attachment('a')), { code: 5, message: /can't keep addresses in .*EISDIR/ });
  t.deepEqual(readdirSync(directory).toSorted(), ['last_reserved_ip.0.new', 'lock']);
});

test('a lease that was read before the reference plugin had written it is read again', async (t) => {
  const { ipam, config, directory } = setUp(t);
  mkdirSync(directory);
  const file = join(directory, '10.1.2.2');
  const write = (content: string) => {
    writeFileSync(file, content);
    // Both within one tick of the kernel's clock.
    utimesSync(file, 1_700_000_000, 1_700_000_000);
  };
  write('');
  t.like(await ipam.leases(config), [{ ip: '10.1.2.2', containerId: '' }]);
  write('theirs\r\neth0');
  t.like(await ipam.leases(config), [{ ip: '10.1.2.2', containerId: 'theirs' }]);
  await ipam.gc(config, [attachment('theirs')]);
  t.deepEqual(readdirSync(directory).toSorted(), ['10.1.2.2', 'lock']);
});

test('a directory by an address’s name is nobody’s: all others go on, and it stays', async (t) => {
  const { ipam, config, directory } = setUp(t);
  mkdirSync(join(directory, '10.1.2.2'), { recursive: true });
  t.is(ipOf(await ipam.add(config, attachment('a'))), '10.1.2.3/29');
  await ipam.gc(config, [attachment('a')]);
  await ipam.del(config, attachment('a'));
  t.deepEqual(readdirSync(directory).toSorted(), ['10.1.2.2', 'last_reserved_ip.0', 'lock']);
});
