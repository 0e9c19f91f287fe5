import test from 'ava';
import {
  computeAllocatable,
  computeCapacity,
  computeUnreserved,
  DEFAULT_EVICTION_HARD,
  findOverReservation,
  renderNodeResources,
  thresholdBytes,
} from '../../../../agent/resources/node-resources.ts';

const host = { cpus: 2, memoryBytes: 1000 * 2 ** 20, nodeFsBytes: 10_000_000_000, pidMax: 32768, hugepages: new Map() };

test('capacity and allocatable', (t) => {
  const capacity = computeCapacity(host, { maxPods: 110, podsPerCore: 0 });
  t.deepEqual(renderNodeResources(capacity), {
    cpu: '2',
    'ephemeral-storage': '9765625Ki',
    memory: '1000Mi',
    pods: '110',
  });
  const reservations = {
    kubeReserved: { cpu: '100m', memory: '100Mi' },
    systemReserved: { cpu: '200m', 'ephemeral-storage': '1G', pid: '768' },
    evictionHard: DEFAULT_EVICTION_HARD,
  };
  t.deepEqual(computeUnreserved(capacity, reservations), {
    cpuMillis: 1700,
    memoryBytes: 900 * 2 ** 20,
    ephemeralStorageBytes: 9_000_000_000,
    pods: 110,
    pids: 32000,
    hugepages: new Map(),
  });
  const allocatable = computeAllocatable(capacity, reservations);
  t.is(allocatable.memoryBytes, 800 * 2 ** 20);
  // A kubelet counts 10 % in single precision.
  t.is(allocatable.ephemeralStorageBytes, 7_999_999_986);
  t.is(allocatable.cpuMillis, 1700);
});

test('capacity: pods per core, huge pages', (t) => {
  const capacity = computeCapacity(
    { ...host, hugepages: new Map([[2 * 2 ** 20, 64 * 2 ** 20]]) },
    { maxPods: 110, podsPerCore: 10 },
  );
  t.is(capacity.pods, 20);
  t.is(renderNodeResources(capacity)['hugepages-2Mi'], '64Mi');
  const none = { kubeReserved: {}, systemReserved: {}, evictionHard: {} };
  t.is(computeAllocatable(capacity, none).memoryBytes, 936 * 2 ** 20);
  t.is(computeAllocatable(capacity, { ...none, kubeReserved: { memory: '1Ti' } }).memoryBytes, 0);
});

test('more is reserved than there is: each sum with its parts, and what is accepted', (t) => {
  const capacity = computeCapacity(host, { maxPods: 110, podsPerCore: 0 });
  const fits = { kubeReserved: { cpu: '1', memory: '400Mi' }, systemReserved: { cpu: '1', pid: '32768' } };
  t.deepEqual(findOverReservation(capacity, { ...fits, evictionHard: { 'memory.available': '600Mi' } }), []);
  const tooMuch = {
    kubeReserved: { cpu: '1500m', memory: '400Mi' },
    systemReserved: { cpu: '1', memory: '500Mi', pid: '32769' },
    evictionHard: { 'memory.available': '200Mi', 'nodefs.available': '10%' },
  };
  t.deepEqual(findOverReservation(capacity, tooMuch), [
    "kubeReserved.cpu 1500m + systemReserved.cpu 1 = 2500m; accepted: up to this node's cpu of 2",
    "kubeReserved.memory 400Mi + systemReserved.memory 500Mi + evictionHard.memory.available 200Mi = 1100Mi; accepted: up to this node's memory of 1000Mi",
    "systemReserved.pid 32769 = 32769; accepted: up to this node's pid of 32768",
  ]);
});

test('thresholds', (t) => {
  t.is(thresholdBytes('10%', 1005), 100);
  t.is(thresholdBytes('1Ki', 0), 1024);
  t.is(thresholdBytes(undefined, 5), 0);
});
