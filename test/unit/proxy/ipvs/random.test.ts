import test from 'ava';
import { createIpvsScene } from '../../../support/ipvs-scene.ts';
import { NODE_NAME, serviceOf, sliceOf } from '../../../support/proxy.ts';

test('any series of partial syncs ends where one full sync would', async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = generator(seed);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
    const one = createIpvsScene();
    const other = createIpvsScene();
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
