import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { evictionHardOf } from '../../../agent/config/sections/eviction.ts';
import { loadConfig } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-eviction-'));
test.after.always(() => rmSync(directory, { recursive: true }));

function load(fields: Record<string, unknown>) {
  const file = join(directory, `${Math.random()}.yaml`);
  const config = { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', ...fields };
  writeFileSync(file, JSON.stringify(config));
  return loadConfig(kubeletConfiguration, { file });
}

for (const [fields, message] of [
  [{ evictionHard: { 'memory.free': '1Gi' } }, /evictionHard\.memory\.free.*1Gi.*memory\.available, /s],
  [{ evictionHard: { 'memory.available': '1Gib' } }, /evictionHard\.memory\.available.*1Gib.*a quantity above 0/s],
  [{ evictionHard: { 'memory.available': '-1Gi' } }, /evictionHard\.memory\.available.*-1Gi/s],
  [{ evictionHard: { 'memory.available': '0' } }, /evictionHard\.memory\.available/s],
  [{ evictionHard: { 'nodefs.available': '101%' } }, /evictionHard\.nodefs\.available.*101%/s],
  [{ evictionHard: { 'nodefs.available': '-1%' } }, /evictionHard\.nodefs\.available.*-1%/s],
  [{ evictionHard: { 'nodefs.available': 'NaN%' } }, /evictionHard\.nodefs\.available.*NaN%/s],
  [
    { evictionSoft: { 'memory.available': '1Gi' } },
    /evictionSoftGracePeriod\.memory\.available.*a duration for every signal that evictionSoft names/s,
  ],
  [
    { evictionSoft: { 'memory.available': '1Gi' }, evictionSoftGracePeriod: { 'memory.available': 'soon' } },
    /evictionSoftGracePeriod\.memory\.available.*soon.*a duration such as/s,
  ],
  [{ evictionSoftGracePeriod: { 'memory.available': '-1s' } }, /evictionSoftGracePeriod\.memory\.available.*-1s/s],
  [{ evictionMinimumReclaim: { 'memory.available': '0%' } }, /evictionMinimumReclaim\.memory\.available.*0%/s],
  [{ evictionMinimumReclaim: { 'imagefs.size': '2Gi' } }, /evictionMinimumReclaim\.imagefs\.size/s],
  [{ evictionMaxPodGracePeriod: 1.5 }, /evictionMaxPodGracePeriod/s],
  [{ evictionPressureTransitionPeriod: 'soon' }, /evictionPressureTransitionPeriod.*soon/s],
] as const)
  test(`refused: ${JSON.stringify(fields)}`, (t) => {
    t.throws(() => load(fields), { message });
  });

test('every problem is told at once', (t) => {
  const error = t.throws(() => load({ evictionHard: { a: '1', 'pid.available': 'x' }, evictionSoft: { b: '2' } }));
  t.regex(error!.message, /evictionHard\.a/);
  t.regex(error!.message, /evictionHard\.pid\.available/);
  t.regex(error!.message, /evictionSoft\.b/);
});

test('evictionHard takes the place of the defaults, unless they are merged', (t) => {
  t.is(evictionHardOf(load({}))['memory.available'], '100Mi');
  const own = { evictionHard: { 'memory.available': '1Gi' } };
  t.deepEqual({ ...evictionHardOf(load(own)) }, own.evictionHard);
  const merged = evictionHardOf(load({ ...own, mergeDefaultEvictionSettings: true }));
  t.is(merged['memory.available'], '1Gi');
  t.is(merged['imagefs.available'], '15%');
});

test('flags, as kubelets take them', (t) => {
  const flags = [
    { flag: '--eviction-hard', field: 'evictionHard', value: 'memory.available<1Gi,nodefs.available<10%' },
    { flag: '--eviction-soft', field: 'evictionSoft', value: 'memory.available<2Gi' },
    { flag: '--eviction-soft-grace-period', field: 'evictionSoftGracePeriod', value: 'memory.available=1m' },
    { flag: '--eviction-minimum-reclaim', field: 'evictionMinimumReclaim', value: 'memory.available=500Mi' },
    { flag: '--eviction-max-pod-grace-period', field: 'evictionMaxPodGracePeriod', value: '-1' },
  ];
  const config = loadConfig(kubeletConfiguration, { flags });
  t.deepEqual({ ...config.evictionHard }, { 'memory.available': '1Gi', 'nodefs.available': '10%' });
  t.deepEqual({ ...config.evictionSoft }, { 'memory.available': '2Gi' });
  t.deepEqual({ ...config.evictionSoftGracePeriod }, { 'memory.available': '1m' });
  t.deepEqual({ ...config.evictionMinimumReclaim }, { 'memory.available': '500Mi' });
  t.is(config.evictionMaxPodGracePeriod, -1);
  const bad = { flag: '--eviction-hard', field: 'evictionHard', value: 'memory.available=1Gi' };
  t.throws(() => loadConfig(kubeletConfiguration, { flags: [bad] }), { message: /memory\.available=1Gi/ });
});
