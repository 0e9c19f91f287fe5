import test from 'ava';
import { createIpvsProxier } from '../../../../proxy/ipvs/proxier.ts';
import { createChangeTracker } from '../../../../proxy/state/tracker.ts';
import type { Service } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { createFakeIptables } from '../../../fakes/iptables.ts';
import { createFakeAddressHolder, createFakeIpset, createFakeIpvs } from '../../../fakes/ipvs.ts';
import { NODE_NAME, NODE_OPTIONS, serviceOf, sliceOf } from '../../../support/proxy.ts';

const WEB = { protocol: 'TCP', address: '10.96.0.1', port: 80 } as const;

function scene(options: { excluded?: string } = {}) {
  const host = ['127.0.0.1', '192.168.0.2', '::1'];
  const kernel = {
    ipvs: createFakeIpvs(),
    ipset: createFakeIpset(),
    holder: createFakeAddressHolder(host),
    iptables: createFakeIptables('IPv4', 'legacy'),
  };
  const clock = createFakeClock();
  const create = () =>
    createIpvsProxier({
      family: 'IPv4',
      scheduler: 'rr',
      isExcluded: (address) => address === options.excluded,
      open: async () => kernel,
      prepare: async () => {},
      clock,
      log: silentLogger,
    });
  const tracker = createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
  let proxier = create();
  return {
    ...kernel,
    host,
    clock,
    tracker,
    restart() {
      proxier = create();
    },
    close: () => proxier.close!(),
    isFlushed: () => proxier.isFlushed(),
    sync(full = false) {
      const { snapshot, dirty } = tracker.take();
      return proxier.sync(snapshot, dirty, { node: NODE_OPTIONS, full });
    },
    async state() {
      const servers = await kernel.ipvs.listServers();
      const reals = await Promise.all(servers.map((server) => kernel.ipvs.listRealServers(server)));
      const headers = await kernel.ipset.headers();
      const sets = await Promise.all(
        headers.map(async ({ name }) => [name, (await kernel.ipset.elements({ name, type: 'hash:ip' })).sort()]),
      );
      return {
        servers: servers
          .map((server, index) => JSON.stringify([server, reals[index]!.map((real) => JSON.stringify(real)).sort()]))
          .sort(),
        sets: Object.fromEntries(sets),
        addresses: (await kernel.holder.list(4)).held.sort(),
        tables: await kernel.iptables.save(),
      };
    },
  };
}

function put(tracker: ReturnType<typeof scene>['tracker'], service: Service, endpoints: string[]): void {
  tracker.setService(service);
  tracker.setSlice(sliceOf(`${service.metadata.namespace}/${service.metadata.name}`, endpoints));
}

test('one endpoint changed: one message, and no program is run', async (t) => {
  const { tracker, ipvs, iptables, sync } = scene();
  put(tracker, serviceOf('ns/web', '10.96.0.1'), ['10.244.1.1']);
  put(tracker, serviceOf('ns/other', '10.96.0.2'), ['10.244.1.1']);
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
  const { tracker, ipvs, sync, clock, close } = scene();
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
  const { tracker, ipvs, sync, clock, restart, isFlushed, close } = scene();
  put(tracker, serviceOf('ns/web', '10.96.0.1'), ['10.244.1.1', '10.244.1.2']);
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
  const { tracker, ipvs, ipset, sync } = scene({ excluded: '10.96.0.9' });
  const rest = { scheduler: 'wlc', flags: 0, timeoutSeconds: 0 };
  for (const address of ['198.51.100.7', '10.96.0.8', '10.96.0.9']) await ipvs.addServer({ ...WEB, address, ...rest });
  await ipvs.addServer({ ...WEB, address: '192.168.0.2', port: 30080, ...rest });
  await ipvs.addServer({ ...WEB, address: '192.168.0.2', port: 8443, ...rest });
  const family = 'IPv4' as const;
  await ipset.create({ name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port', family, maxElements: 65_536 });
  await ipset.create({ name: 'KUBE-NODE-PORT-TCP', type: 'bitmap:port', family, maxElements: 65_536 });
  await ipset.add({ name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port' }, ['10.96.0.8,tcp:80', '10.96.0.9,tcp:80']);
  await ipset.add({ name: 'KUBE-NODE-PORT-TCP', type: 'bitmap:port' }, ['30080']);
  put(tracker, serviceOf('ns/web', '10.96.0.1'), ['10.244.1.1']);
  await sync(true);
  const left = (await ipvs.listServers()).map(({ address, port }) => `${address}:${port}`).sort();
  t.deepEqual(left, ['10.96.0.1:80', '10.96.0.9:80', '192.168.0.2:8443', '198.51.100.7:80']);
});

test('what the kernel refuses does not keep the rest from being written, and is tried again', async (t) => {
  const { tracker, ipvs, holder, sync } = scene();
  put(tracker, serviceOf('ns/bad', '10.96.0.1'), ['10.244.1.1']);
  put(tracker, serviceOf('ns/good', '10.96.0.2'), ['10.244.1.1']);
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
  const { tracker, ipvs, sync } = scene();
  const externalIPs = ['203.0.113.1'];
  put(tracker, serviceOf('ns/b', '10.96.0.2', { externalIPs }), ['10.244.1.2']);
  await sync(true);
  const holderOf = async () =>
    (await ipvs.listRealServers({ ...WEB, address: '203.0.113.1' }))
      .filter(({ weight }) => weight)
      .map((one) => one.address);
  t.deepEqual(await holderOf(), ['10.244.1.2']);
  const a = serviceOf('ns/a', '10.96.0.1', { externalIPs });
  put(tracker, a, ['10.244.1.1']);
  await sync();
  t.deepEqual(await holderOf(), ['10.244.1.1']);
  tracker.deleteService('ns/a');
  await sync();
  t.deepEqual(await holderOf(), ['10.244.1.2']);
});

test('a set that is too small is replaced by a larger one', async (t) => {
  const { tracker, ipset, sync } = scene();
  put(tracker, serviceOf('ns/a', '10.96.0.1'), []);
  await sync(true);
  // As if it had been made for one element.
  ipset.limit('KUBE-IPVS-IPS', 1);
  put(tracker, serviceOf('ns/b', '10.96.0.2'), []);
  await t.throwsAsync(sync(), { message: /FULL/ });
  t.like(await sync(), { kind: 'full' });
  t.is((await ipset.elements({ name: 'KUBE-IPVS-IPS', type: 'hash:ip' })).length, 2);
  t.true(
    (await ipset.headers()).every(({ name, maxElements = 65_536 }) => maxElements >= 65_536 && !name.endsWith('SPARE')),
  );
});

test('what others change is seen', async (t) => {
  const { tracker, ipvs, ipset, holder, iptables, host, sync, isFlushed } = scene();
  put(
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

test('any series of partial syncs ends where one full sync would', async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = generator(seed);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
    const one = scene();
    const other = scene();
    for (let step = 0; step < 12; step++) {
      for (let change = 0; change < 3; change++) {
        const name = pick(['a', 'b', 'c', 'd']);
        const index = 'abcd'.indexOf(name) + 1;
        const service = serviceOf(`ns/${name}`, `10.96.0.${index}`, {
          type: pick(['ClusterIP', 'NodePort', 'LoadBalancer']),
          externalTrafficPolicy: pick(['Local', 'Cluster']),
          internalTrafficPolicy: pick(['Local', 'Cluster', 'Cluster']),
          sessionAffinity: pick(['None', 'ClientIP']),
          externalIPs: pick([[], ['203.0.113.1'], ['203.0.113.2', '192.168.0.2']]),
          ingress: pick([[], [{ ip: '203.0.113.9' }]]),
          loadBalancerSourceRanges: pick([[], ['10.0.0.0/8'], ['192.168.0.0/16']]),
          healthCheckNodePort: pick([0, 32_000 + index]),
          ports: [{ port: 80, protocol: pick(['TCP', 'UDP', 'SCTP']), nodePort: pick([0, 30_080, 30_080 + index]) }],
        } as never);
        const slice = sliceOf(
          `ns/${name}`,
          ['10.244.1.1', '10.244.1.2', '10.244.2.1']
            .filter(() => random() < 0.6)
            .map((ip) => ({ ip, nodeName: pick([NODE_NAME, 'n']) })),
          { ports: [{ name: '', port: 8080, protocol: service.spec.ports![0]!.protocol }] },
        );
        const gone = random() < 0.2;
        for (const { tracker } of [one, other])
          if (gone) tracker.deleteService(`ns/${name}`);
          else {
            tracker.setService(service);
            tracker.setSlice(slice);
          }
      }
      await one.sync(step === 0);
    }
    await other.sync(true);
    t.deepEqual(await one.state(), await other.state(), `seed ${seed}`);
    t.like(await one.sync(true), { wrote: false }, `seed ${seed}`);
    for (const { close } of [one, other]) await close();
  }
});

function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}
