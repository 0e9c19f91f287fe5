import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { upstreamVersion } from '../../../cli/debian/source-package.ts';
import { ASSET_PROGRAMS, assetsCache, findKubeAssets, findPeerProgram } from '../../../cli/kube-assets/assets.ts';

for (const [debian, upstream] of [
  ['1.20.5+really1.20.2-1.1', '1.20.2'],
  ['1.36.4+ds-1', '1.36.4'],
  ['2:3.4.23-4+b4', '3.4.23'],
  ['1.19.8', '1.19.8'],
] as const)
  test(`Debian's ${debian} is upstream's ${upstream}`, (t) => t.is(upstreamVersion(debian), upstream));

function folder(t: { teardown(work: () => void): void }, programs: readonly string[], mode = 0o755): string {
  const made = mkdtempSync(join(tmpdir(), 'berth-assets-'));
  t.teardown(() => rmSync(made, { recursive: true }));
  for (const program of programs) writeFileSync(join(made, program), '', { mode });
  return made;
}

test('the cache lies in XDG_CACHE_HOME, else below the home', (t) => {
  t.is(assetsCache({ XDG_CACHE_HOME: '/var/cache/me' }), '/var/cache/me/berth/kube');
  t.regex(assetsCache({}), /\/\.cache\/berth\/kube$/);
});

test('BERTH_KUBE_ASSETS with all programs is taken', (t) => {
  const named = folder(t, ASSET_PROGRAMS);
  t.deepEqual(findKubeAssets({ BERTH_KUBE_ASSETS: named }), { folder: named });
});

test('a BERTH_KUBE_ASSETS that lacks a program names it', (t) => {
  const named = folder(t, ['etcd', 'kube-apiserver']);
  t.deepEqual(findKubeAssets({ BERTH_KUBE_ASSETS: named }), {
    skip: 'BERTH_KUBE_ASSETS has no kube-controller-manager, kube-scheduler',
  });
});

test('an empty cache says how to fill it', (t) => {
  const found = findKubeAssets({ XDG_CACHE_HOME: folder(t, []) });
  t.regex('skip' in found ? found.skip : '', /berth kube-assets/);
});

test('a peer program lies beside the control plane, or its absence says how to get it', (t) => {
  const named = folder(t, ['kube-proxy']);
  t.deepEqual(findPeerProgram('kube-proxy', { BERTH_KUBE_ASSETS: named }), { path: join(named, 'kube-proxy') });
  const found = findPeerProgram('kube-proxy', { XDG_CACHE_HOME: folder(t, []) });
  t.regex('skip' in found ? found.skip : '', /berth kube-assets --peers/);
});
