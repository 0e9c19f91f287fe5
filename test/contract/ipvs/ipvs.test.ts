/** The same assertions on the fakes of mode ipvs and on the kernel, where it has the parts. */
import test, { type ExecutionContext } from 'ava';
import { SCHEDULERS } from '../../../proxy/ipvs/schedulers.ts';
import { type AddressHolder, openAddressHolder } from '../../../src/linux/netlink/dummy.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import { type Ipset, openIpset } from '../../../src/netfilter/ipset.ts';
import { SET_TYPES, type SetType } from '../../../src/netfilter/ipset-messages.ts';
import { type Ipvs, openIpvs } from '../../../src/netfilter/ipvs.ts';
import { createFakeAddressHolder, createFakeIpset, createFakeIpvs } from '../../fakes/ipvs.ts';
import { whyNoIpvs } from '../../support/ipvs.ts';
import { createTestNetns } from '../../support/netns.ts';

const refused = async (t: ExecutionContext, code: string, work: Promise<unknown>) => {
  const error = await t.throwsAsync(work);
  t.true(isNetlinkError(error, code), `${error?.message}, not ${code}`);
};

const noIpvs = await whyNoIpvs();

function onBoth<T extends { close(): void }>(
  title: string,
  fake: () => T,
  open: (netns: string) => T | Promise<T>,
  whyNot: string | undefined,
  check: (t: ExecutionContext, part: T) => Promise<void>,
): void {
  test(`fake: ${title}`, (t) => check(t, fake()));
  if (whyNot) return void test.skip(`kernel: ${title} (the rung uml runs this; here: ${whyNot})`, (t) => t.fail());
  test.serial(`kernel: ${title}`, async (t) => {
    const netns = await createTestNetns(t, 'part');
    const part = await open(netns.path);
    try {
      await check(t, part);
    } finally {
      part.close();
    }
  });
}

onBoth<Ipvs>('virtual and real servers', createFakeIpvs, openIpvs, noIpvs, async (t, ipvs) => {
  for (const [address, real] of [
    ['10.96.0.1', '10.244.0.1'],
    ['fd00:96::1', 'fd00:244::1'],
  ] as const)
    for (const protocol of ['TCP', 'UDP', 'SCTP'] as const) {
      const id = { protocol, address, port: 53 };
      const server = { ...id, scheduler: 'rr', flags: 1, timeoutSeconds: 10_800 };
      await ipvs.addServer(server);
      await refused(t, 'EEXIST', ipvs.addServer(server));
      t.deepEqual(await ipvs.listServers(), [server]);
      await ipvs.editServer({ ...server, scheduler: 'mh', flags: 0x10, timeoutSeconds: 0 });
      t.deepEqual(await ipvs.listServers(), [{ ...server, scheduler: 'mh', flags: 0x10, timeoutSeconds: 0 }]);

      t.deepEqual(await ipvs.listRealServers(id), []);
      const one = { address: real, port: 5353, weight: 1 };
      await ipvs.addRealServer(id, one);
      await refused(t, 'EEXIST', ipvs.addRealServer(id, one));
      await ipvs.editRealServer(id, { ...one, weight: 0 });
      t.deepEqual(await ipvs.listRealServers(id), [
        { ...one, weight: 0, activeConnections: 0, inactiveConnections: 0 },
      ]);
      await refused(t, 'ENOENT', ipvs.editRealServer(id, { ...one, port: 1 }));
      await ipvs.deleteRealServer(id, one);
      await refused(t, 'ENOENT', ipvs.deleteRealServer(id, one));

      await ipvs.addRealServer(id, one);
      await ipvs.deleteServer(id);
      await refused(t, 'ESRCH', ipvs.deleteServer(id));
      await refused(t, 'ESRCH', ipvs.editServer(server));
      await refused(t, 'ESRCH', ipvs.addRealServer(id, one));
      t.deepEqual(await ipvs.listRealServers(id), []);
      t.deepEqual(await ipvs.listServers(), []);
    }
});

onBoth<Ipvs>('every scheduler of kube-proxy, and no other', createFakeIpvs, openIpvs, noIpvs, async (t, ipvs) => {
  const server = { protocol: 'TCP', address: '10.96.0.1', port: 80, flags: 0, timeoutSeconds: 0 } as const;
  await refused(t, 'ENOENT', ipvs.addServer({ ...server, scheduler: 'nosuch' }));
  await ipvs.addServer({ ...server, scheduler: 'rr' });
  for (const scheduler of SCHEDULERS) {
    await ipvs.editServer({ ...server, scheduler });
    t.deepEqual(await ipvs.listServers(), [{ ...server, scheduler }]);
  }
  await refused(t, 'ENOENT', ipvs.editServer({ ...server, scheduler: 'nosuch' }));
  await ipvs.setTimeouts({ tcpSeconds: 1000, tcpFinSeconds: 100, udpSeconds: 10 });
  await ipvs.setTimeouts({ udpSeconds: 20 });
});

const ELEMENTS: Record<SetType, Record<'IPv4' | 'IPv6', string[]>> = {
  'hash:ip': { IPv4: ['10.0.0.1', '10.0.0.2'], IPv6: ['fd00::1', 'fd00::2'] },
  'hash:ip,port': {
    IPv4: ['10.0.0.1,sctp:9', '10.0.0.1,tcp:80', '10.0.0.1,udp:53'],
    IPv6: ['fd00::1,sctp:9', 'fd00::1,tcp:80', 'fd00::1,udp:53'],
  },
  'hash:ip,port,ip': {
    IPv4: ['10.0.0.1,tcp:80,10.0.0.1', '10.0.0.1,tcp:80,10.0.0.2'],
    IPv6: ['fd00::1,tcp:80,fd00::1', 'fd00::1,tcp:80,fd00::2'],
  },
  'hash:ip,port,net': {
    IPv4: ['10.0.0.1,tcp:80,10.0.0.2/32', '10.0.0.1,tcp:80,192.168.0.0/16'],
    IPv6: ['fd00::1,tcp:80,fd00::/64', 'fd00::1,tcp:80,fd00::2/128'],
  },
  'bitmap:port': { IPv4: ['1', '30080', '65535'], IPv6: ['1', '30080', '65535'] },
};

onBoth<Ipset>('sets', createFakeIpset, openIpset, undefined, async (t, ipset) => {
  for (const type of Object.keys(SET_TYPES) as SetType[])
    for (const family of ['IPv4', 'IPv6'] as const) {
      const set = { name: 'A', type, family, maxElements: 70_000 };
      const elements = ELEMENTS[type][family];
      await ipset.create(set);
      await refused(t, 'EEXIST', ipset.create(set));
      const [header] = await ipset.headers();
      const isBitmap = type === 'bitmap:port';
      t.deepEqual(
        { ...header, elements: 0 },
        {
          name: 'A',
          type,
          family: isBitmap ? undefined : family,
          maxElements: isBitmap ? undefined : 70_000,
          elements: 0,
        },
      );
      await ipset.add(set, elements);
      await ipset.add(set, elements);
      t.deepEqual((await ipset.elements(set)).sort(), elements);
      await ipset.delete(set, elements.slice(0, 1));
      await ipset.delete(set, elements.slice(0, 1));
      t.deepEqual((await ipset.elements(set)).sort(), elements.slice(1));

      await ipset.create({ ...set, name: 'B' });
      await ipset.swap('A', 'B');
      t.deepEqual(await ipset.elements(set), []);
      t.deepEqual((await ipset.elements({ ...set, name: 'B' })).sort(), elements.slice(1));
      for (const name of ['A', 'B', 'B']) await ipset.destroy(name);
      await refused(t, 'ENOENT', ipset.elements(set));
      await refused(t, 'ENOENT', ipset.add(set, elements));
    }
  const small = { name: 'S', type: 'hash:ip', family: 'IPv4', maxElements: 64 } as const;
  const many = Array.from({ length: 2000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
  await ipset.create(small);
  await refused(t, 'FULL', ipset.add(small, many));
  await ipset.create({ ...small, name: 'L', maxElements: 65_536 });
  await ipset.add({ ...small, name: 'L' }, many);
  t.deepEqual((await ipset.elements({ ...small, name: 'L' })).sort(), many.sort());
});

const noHost = () => createFakeAddressHolder(['127.0.0.1', '::1']);
const open = (netns: string) => openAddressHolder('held0', netns);
onBoth<AddressHolder>('a link that holds addresses', noHost, open, noIpvs, async (t, holder) => {
  t.false(await holder.exists());
  await holder.ensureLink();
  await holder.ensureLink();
  t.true(await holder.exists());
  for (const address of ['10.96.0.1', '10.96.0.2', '10.96.0.1', 'fd00::1', 'fd00::1']) await holder.add(address);
  t.deepEqual((await holder.list(4)).held.sort(), ['10.96.0.1', '10.96.0.2']);
  t.deepEqual((await holder.list(6)).held, ['fd00::1']);
  t.deepEqual((await holder.list(4)).others, [{ address: '127.0.0.1', scope: 'host' }]);
  for (const address of ['10.96.0.1', '10.96.0.1', 'fd00::1']) await holder.remove(address);
  t.deepEqual((await holder.list(4)).held, ['10.96.0.2']);
  t.deepEqual((await holder.list(6)).held, []);
  await holder.removeLink();
  await holder.removeLink();
  t.false(await holder.exists());
});
