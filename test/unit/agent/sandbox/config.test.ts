import test from 'ava';
import { MASKED_PATHS, READ_ONLY_PATHS } from '../../../../agent/containers/masked-paths.ts';
import { buildSandboxConfig } from '../../../../agent/sandbox/config.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const configOf = (spec: Partial<Pod['spec']>) =>
  buildSandboxConfig({
    pod: podOf(spec),
    nodeName: 'n1',
    pauseImage: 'pause:1',
    kernelHostname: 'web',
    cgroupParent: '/kubepods/pod1',
    oomScoreAdj: -998,
  });

test('the pause container can do nothing, whatever its pod may', (t) => {
  const containers = [{ name: 'app', image: 'i', securityContext: { privileged: true } }];
  const seccompProfile = { type: 'Unconfined' } as const;
  const config = configOf({ containers, securityContext: { runAsUser: 0, seccompProfile } });
  t.is(config.User, '65535:65535');
  t.like(config.HostConfig!, {
    SecurityOpt: ['no-new-privileges'],
    CapDrop: ['ALL'],
    CapAdd: undefined,
    Privileged: undefined,
    ReadonlyRootfs: true,
    MaskedPaths: [...MASKED_PATHS],
    ReadonlyPaths: [...READ_ONLY_PATHS],
  });
});

test('sysctls of both spellings go to the sandbox', (t) => {
  const sysctls = [
    { name: 'net/ipv4/tcp_syncookies', value: '0' },
    { name: 'kernel.shm_rmid_forced', value: '1' },
  ];
  t.deepEqual(configOf({ securityContext: { sysctls } }).HostConfig!.Sysctls, {
    'net.ipv4.tcp_syncookies': '0',
    'kernel.shm_rmid_forced': '1',
  });
});

for (const [title, spec, expected] of [
  ['of its own', {}, { NetworkMode: 'none', IpcMode: 'shareable', PidMode: undefined, Hostname: 'web' }],
  [
    'of the host',
    { hostNetwork: true, hostIPC: true, hostPID: true },
    { NetworkMode: 'host', IpcMode: 'host', PidMode: 'host', Hostname: undefined },
  ],
] as [string, Partial<Pod['spec']>, object][])
  test(`namespaces ${title}`, (t) => {
    const { Hostname, HostConfig } = configOf(spec);
    const { NetworkMode, IpcMode, PidMode } = HostConfig!;
    t.deepEqual({ NetworkMode, IpcMode, PidMode, Hostname }, expected);
  });
