import test from 'ava';
import { createManifestProblems } from '../../../../agent/stats/manifests.ts';
import { createNodeMetrics } from '../../../../agent/stats/metrics.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { podOf } from '../pod.ts';

const lines = async (registry: Registry, name: string) =>
  (await registry.metrics()).split('\n').filter((line) => line.startsWith(name));

test('probes: counted by result, timed unless they failed, gone with the probe', async (t) => {
  const probeRegistry = new Registry();
  const metrics = createNodeMetrics(
    { nodeName: 'n' },
    { registry: new Registry(), probeRegistry, pods: { list: () => [], runtime: () => undefined }, clock: systemClock },
  );
  const pod = podOf();
  const probe = { pod, container: pod.spec.containers[0]!, type: 'readiness' as const };
  metrics.probed({ ...probe, result: 'successful', seconds: 0.02 });
  metrics.probed({ ...probe, result: 'failed', seconds: 1 });
  metrics.probed({ ...probe, result: 'failed', seconds: 1 });
  const labels = 'probe_type="Readiness",container="app",pod="web",namespace="default"';
  const counted = await lines(probeRegistry, 'prober_probe_total');
  t.is(counted.length, 2);
  for (const [result, value] of [
    ['successful', 1],
    ['failed', 2],
  ] as const) {
    const line = counted.find((one) => one.includes(`result="${result}"`))!;
    t.true(line.endsWith(` ${value}`));
    for (const label of [...labels.split(','), 'pod_uid="uid-1"']) t.true(line.includes(label), label);
  }
  t.deepEqual(await lines(probeRegistry, 'prober_probe_duration_seconds_count'), [
    `prober_probe_duration_seconds_count{${labels}} 1`,
  ]);
  metrics.probeEnded(probe);
  t.deepEqual(await lines(probeRegistry, 'prober_probe_'), []);
});

test('manifests that are not used are a series each, and are told', async (t) => {
  const registry = new Registry();
  const told: string[] = [];
  const report = createManifestProblems({ registry, tell: (message) => told.push(message) });
  report('/m/a.yaml', 'metadata.name: required');
  report('/m/b.yaml', 'is not a file');
  t.deepEqual(await lines(registry, 'berth_static_pod_manifest_invalid'), [
    'berth_static_pod_manifest_invalid{origin="/m/a.yaml"} 1',
    'berth_static_pod_manifest_invalid{origin="/m/b.yaml"} 1',
  ]);
  t.is(told[0], 'Static pod manifest /m/a.yaml is not used: metadata.name: required');
  report('/m/a.yaml', undefined);
  t.is((await lines(registry, 'berth_static_pod_manifest_invalid')).length, 1);
  t.is(told.length, 2);
});
