import test from 'ava';
import { createIpvsScene, putService } from '../../../support/ipvs-scene.ts';
import { serviceOf, sliceOf } from '../../../support/proxy.ts';

const WEB = { protocol: 'TCP', address: '10.96.0.1', port: 80 } as const;

test('one endpoint changed: one message, and no program is run', async (t) => {
  const { tracker, ipvs, iptables, sync } = createIpvsScene();
  putService(tracker, serviceOf('ns/web', '10.96.0.1'), ['10.244.1.1']);
  putService(tracker, serviceOf('ns/other', '10.96.0.2'), ['10.244.1.1']);
  t.like(await sync(true), { kind: 'full', wrote: true });
  ipvs.changes.length = 0;
  iptables.restored.length = 0;
  tracker.setSlice(
    sliceOf('ns/web', [
      { ip: '10.244.1.1', nodeName: 'n' },
      { ip: '10.244.1.2', nodeName: 'n' },
    ]),
  );
  t.like(await sync(), { kind: 'partial', wrote: true });
  t.deepEqual(ipvs.changes, ['addReal TCP 10.96.0.1:80 10.244.1.2:8080 1']);
  t.deepEqual(iptables.restored, []);
  ipvs.changes.length = 0;
  t.like(await sync(), { kind: 'partial', wrote: false });
  t.like(await sync(true), { kind: 'full', wrote: false });
  t.deepEqual(ipvs.changes, []);
});

test('an endpoint with connections goes when they have ended; one that comes back stays; UDP goes at once', async (t) => {
  const { tracker, ipvs, sync, clock, close } = createIpvsScene();
  const udp = { ...WEB, protocol: 'UDP' as const, port: 53 };
  const ports = [
    { name: 'web', port: 80, protocol: 'TCP' as const },
    { name: 'dns', port: 53, protocol: 'UDP' as const },
  ];
  tracker.setService(serviceOf('ns/web', '10.96.0.1', { ports }));
  const slice = (ips: string[]) =>
    sliceOf('ns/web', ips, {
      ports: [
        { name: 'web', port: 8080, protocol: 'TCP' },
        { name: 'dns', port: 5353, protocol: 'UDP' },
      ],
    });
  const weights = async () =>
    Object.fromEntries((await ipvs.listRealServers(WEB)).map(({ address, weight }) => [address, weight]));
  tracker.setSlice(slice(['10.244.1.1', '10.244.1.2', '10.244.1.3']));
  await sync(true);
  for (const [server, port] of [
    [WEB, 8080],
    [udp, 5353],
  ] as const)
    for (const address of ['10.244.1.2', '10.244.1.3']) ipvs.setConnections(server, { address, port }, 1);

  tracker.setSlice(slice(['10.244.1.1']));
  await sync();
  t.deepEqual(await weights(), { '10.244.1.1': 1, '10.244.1.2': 0, '10.244.1.3': 0 });
  t.deepEqual(
    (await ipvs.listRealServers(udp)).map(({ address }) => address),
    ['10.244.1.1'],
  );

  tracker.setSlice(slice(['10.244.1.1', '10.244.1.3']));
  await sync();
  t.deepEqual(await weights(), { '10.244.1.1': 1, '10.244.1.2': 0, '10.244.1.3': 1 });
  await clock.advance(60_000);
  t.deepEqual(await weights(), { '10.244.1.1': 1, '10.244.1.2': 0, '10.244.1.3': 1 }, 'its connection is still there');
  ipvs.setConnections(WEB, { address: '10.244.1.2', port: 8080 }, 0);
  await clock.advance(60_000);
  t.deepEqual(await weights(), { '10.244.1.1': 1, '10.244.1.3': 1 });
  await close();
});

test('after a restart, endpoints on their way out are known by their weight, and nothing is written', async (t) => {
  const { tracker, ipvs, sync, clock, restart, isFlushed, close } = createIpvsScene();
  putService(tracker, serviceOf('ns/web', '10.96.0.1'), ['10.244.1.1', '10.244.1.2']);
  await sync(true);
  ipvs.setConnections(WEB, { address: '10.244.1.2', port: 8080 }, 1);
  tracker.setSlice(sliceOf('ns/web', ['10.244.1.1']));
  await sync();
  ipvs.changes.length = 0;
  await close();
  restart();
  t.like(await sync(true), { wrote: false });
  t.deepEqual(ipvs.changes, []);
  t.false(await isFlushed());
  ipvs.setConnections(WEB, { address: '10.244.1.2', port: 8080 }, 0);
  await clock.advance(60_000);
  t.deepEqual(ipvs.changes, ['deleteReal TCP 10.96.0.1:80 10.244.1.2:8080']);
  await close();
});

test('virtual servers of others stay; those that our sets name and nobody wants go, but for excludeCIDRs', async (t) => {
  const { tracker, ipvs, ipset, sync } = createIpvsScene({ excluded: '10.96.0.9' });
  const rest = { scheduler: 'wlc', flags: 0, timeoutSeconds: 0 };
  for (const address of ['198.51.100.7', '10.96.0.8', '10.96.0.9']) await ipvs.addServer({ ...WEB, address, ...rest });
  await ipvs.addServer({ ...WEB, address: '192.168.0.2', port: 30080, ...rest });
  await ipvs.addServer({ ...WEB, address: '192.168.0.2', port: 8443, ...rest });
  const family = 'IPv4' as const;
  await ipset.create({ name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port', family, maxElements: 65_536 });
  await ipset.create({ name: 'KUBE-NODE-PORT-TCP', type: 'bitmap:port', family, maxElements: 65_536 });
  await ipset.add({ name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port' }, ['10.96.0.8,tcp:80', '10.96.0.9,tcp:80']);
  await ipset.add({ name: 'KUBE-NODE-PORT-TCP', type: 'bitmap:port' }, ['30080']);
  putService(tracker, serviceOf('ns/web', '10.96.0.1'), ['10.244.1.1']);
  await sync(true);
  const left = (await ipvs.listServers()).map(({ address, port }) => `${address}:${port}`).sort();
  t.deepEqual(left, ['10.96.0.1:80', '10.96.0.9:80', '192.168.0.2:8443', '198.51.100.7:80']);
});

test('what the kernel refuses does not keep the rest from being written, and is tried again', async (t) => {
  const { tracker, ipvs, holder, sync } = createIpvsScene();
  putService(tracker, serviceOf('ns/bad', '10.96.0.1'), ['10.244.1.1']);
  putService(tracker, serviceOf('ns/good', '10.96.0.2'), ['10.244.1.1']);
  ipvs.refuse(WEB, 'ENOMEM');
  await t.throwsAsync(sync(true), { message: 'IPVS: netlink: addServer TCP 10.96.0.1:80: ENOMEM' });
  t.deepEqual((await ipvs.listRealServers({ ...WEB, address: '10.96.0.2' })).length, 1);
  t.true((await holder.list(4)).held.includes('10.96.0.2'));
  ipvs.refuse(WEB, undefined);
  // Without `full`, too: nobody knows what stands.
  t.like(await sync(), { kind: 'full', wrote: true });
  t.is((await ipvs.listRealServers(WEB)).length, 1);
});

test('two Services claim one address and port: the first by name has it, then the other', async (t) => {
  const { tracker, ipvs, sync } = createIpvsScene();
  const externalIPs = ['203.0.113.1'];
  putService(tracker, serviceOf('ns/b', '10.96.0.2', { externalIPs }), ['10.244.1.2']);
  await sync(true);
  const holderOf = async () =>
    (await ipvs.listRealServers({ ...WEB, address: '203.0.113.1' }))
      .filter(({ weight }) => weight)
      .map((one) => one.address);
  t.deepEqual(await holderOf(), ['10.244.1.2']);
  const a = serviceOf('ns/a', '10.96.0.1', { externalIPs });
  putService(tracker, a, ['10.244.1.1']);
  await sync();
  t.deepEqual(await holderOf(), ['10.244.1.1']);
  tracker.deleteService('ns/a');
  await sync();
  t.deepEqual(await holderOf(), ['10.244.1.2']);
});

test('a set that is too small is replaced by a larger one', async (t) => {
  const { tracker, ipset, sync } = createIpvsScene();
  putService(tracker, serviceOf('ns/a', '10.96.0.1'), []);
  await sync(true);
  // As if it had been made for one element.
  ipset.limit('KUBE-IPVS-IPS', 1);
  putService(tracker, serviceOf('ns/b', '10.96.0.2'), []);
  await t.throwsAsync(sync(), { message: /FULL/ });
  t.like(await sync(), { kind: 'full' });
  t.is((await ipset.elements({ name: 'KUBE-IPVS-IPS', type: 'hash:ip' })).length, 2);
  t.true(
    (await ipset.headers()).every(({ name, maxElements = 65_536 }) => maxElements >= 65_536 && !name.endsWith('SPARE')),
  );
});

test('what others change is seen', async (t) => {
  const { tracker, ipvs, ipset, holder, iptables, host, sync, isFlushed } = createIpvsScene();
  putService(
    tracker,
    serviceOf('ns/web', '10.96.0.1', {
      type: 'NodePort',
      ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }] as never,
    }),
    ['10.244.1.1', '10.244.1.2'],
  );
  await sync(true);
  const set = { name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port' } as const;
  const hands: [string, () => unknown][] = [
    ['a virtual server', () => ipvs.deleteServer(WEB)],
    ['a real server', () => ipvs.deleteRealServer(WEB, { address: '10.244.1.2', port: 8080 })],
    ['a weight', () => ipvs.editRealServer(WEB, { address: '10.244.1.2', port: 8080, weight: 0 })],
    ['a scheduler', () => ipvs.editServer({ ...WEB, scheduler: 'wlc', flags: 0, timeoutSeconds: 0 })],
    ['an address', () => holder.remove('10.96.0.1')],
    ['the link', () => holder.removeLink()],
    ['an element', () => ipset.delete(set, ['10.96.0.1,tcp:80'])],
    ['a table', () => iptables.flush('nat')],
    ['the host', () => host.push('192.168.1.1')],
  ];
  for (const [what, hand] of hands) {
    t.false(await isFlushed(), `before ${what}`);
    await hand();
    t.true(await isFlushed(), what);
    t.like(await sync(true), { wrote: true });
  }
  t.false(await isFlushed());
});
