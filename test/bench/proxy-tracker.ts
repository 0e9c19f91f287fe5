import { createChangeTracker } from '../../proxy/state/tracker.ts';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';
import { NODE_NAME, serviceOf, sliceOf } from '../support/proxy.ts';

/**
 * What following Services and slices costs, without any rule: memory of the two trackers beside the objects themselves, and the time of one
 * changed endpoint. `node --expose-gc test/bench/proxy-tracker.ts [services] [endpoints]`
 */
const services = Number(process.argv[2] ?? 10_000);
const endpoints = Number(process.argv[3] ?? 25);

const ip = (base: number, index: number) => `${base}.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
const heapMib = () => {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 2 ** 20;
};

/** As they come from the API server: no string is shared between objects. */
const fresh = <T>(object: T): T => JSON.parse(JSON.stringify(object)) as T;
const serviceAt = (index: number): Service => fresh(serviceOf(`ns/svc-${index}`, ip(10, index + 1)));
const sliceAt = (index: number, shift = 0): EndpointSlice =>
  fresh(
    sliceOf(
      `ns/svc-${index}`,
      Array.from({ length: endpoints }, (_, one) => ({
        ip: ip(100, index * endpoints + one + shift),
        nodeName: `node-${one}`,
      })),
    ),
  );

const start = heapMib();
const objects = Array.from({ length: services }, (_, index) => ({ service: serviceAt(index), slice: sliceAt(index) }));
const withObjects = heapMib();
const trackers = (['IPv4', 'IPv6'] as const).map((family) => createChangeTracker({ family, nodeName: NODE_NAME }));
const beganMs = performance.now();
for (const tracker of trackers) {
  for (const { service, slice } of objects) {
    tracker.setService(service);
    tracker.setSlice(slice);
  }
  tracker.take();
}
const firstMs = performance.now() - beganMs;
const withTrackers = heapMib();

const changes: number[] = [];
for (let count = 0; count < 200; count++) {
  const index = (count * 7919) % services;
  const slice = sliceAt(index, count);
  const changeBeganMs = performance.now();
  for (const tracker of trackers) {
    tracker.setSlice(slice);
    tracker.take();
  }
  changes.push(performance.now() - changeBeganMs);
}
changes.sort((a, b) => a - b);
console.log(`${services} services × ${endpoints} endpoints`);
console.log(
  `objects ${(withObjects - start).toFixed(0)} MiB, trackers of both families ${(withTrackers - withObjects).toFixed(0)} MiB`,
);
console.log(
  `all of it taken in ${firstMs.toFixed(0)} ms; one change p50 ${changes[100]!.toFixed(2)} ms, p99 ${changes[197]!.toFixed(2)} ms`,
);
