import test from 'ava';
import { sysctlNamespace, whyForbiddenSysctl } from '../../../../agent/resources/sysctls.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const ALLOWED = ['net.core.*', 'kernel.msg*', 'kernel/sem'];

for (const [name, spec, expected] of [
  ['net.ipv4.tcp_syncookies', {}, undefined],
  ['net/ipv4/tcp_rmem', {}, undefined],
  ['net.ipv4.ping_group_range', { hostIPC: true }, undefined],
  ['kernel.shm_rmid_forced', {}, undefined],
  ['net.core.somaxconn', {}, undefined],
  ['net/core/somaxconn', {}, undefined],
  ['kernel.msgmax', {}, undefined],
  ['kernel.sem', {}, undefined],
  ['kernel.shmmax', {}, 'forbidden sysctl: "kernel.shmmax" not allowlisted'],
  ['net.ipv4.ip_forward', {}, 'forbidden sysctl: "net.ipv4.ip_forward" not allowlisted'],
  ['net.corer.x', {}, 'forbidden sysctl: "net.corer.x" not allowlisted'],
  ['vm.swappiness', {}, 'forbidden sysctl: "vm.swappiness" not allowlisted'],
  [
    'net.ipv4.tcp_syncookies',
    { hostNetwork: true },
    'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
  ],
  ['kernel.sem', { hostIPC: true }, 'forbidden sysctl: "kernel.sem" not allowed with host ipc enabled'],
  [
    'kernel.shm_rmid_forced',
    { hostIPC: true },
    'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
  ],
  ['kernel.shm_rmid_forced', { hostNetwork: true }, undefined],
] as [string, Partial<Pod['spec']>, string | undefined][])
  test(`${name} ${Object.keys(spec)}`, (t) => {
    const pod = podOf({ ...spec, securityContext: { sysctls: [{ name, value: '1' }] } });
    t.is(whyForbiddenSysctl(pod, ALLOWED), expected);
  });

test('which namespace a pattern belongs to', (t) => {
  t.is(sysctlNamespace('net.*'), 'net');
  t.is(sysctlNamespace('fs.mqueue.msg_max'), 'ipc');
  t.is(sysctlNamespace('kernel.shm*'), 'ipc');
  t.is(sysctlNamespace('kernel.*'), undefined);
  t.is(sysctlNamespace('vm.overcommit_memory'), undefined);
  t.is(sysctlNamespace('*'), undefined);
});
