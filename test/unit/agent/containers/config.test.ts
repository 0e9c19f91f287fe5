import test from 'ava';
import {
  buildContainerConfig,
  buildLogConfig,
  type ContainerConfigInput,
} from '../../../../agent/containers/config.ts';
import { formatContainerName, parseIdentity } from '../../../../agent/containers/identity.ts';
import { MASKED_PATHS, READ_ONLY_PATHS } from '../../../../agent/containers/masked-paths.ts';
import type { Container, Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

function configOf(
  container: Partial<Container> = {},
  spec: Partial<Pod['spec']> = {},
  input: Partial<ContainerConfigInput> = {},
) {
  const own = { name: 'app', image: 'busybox:1', ...container };
  return buildContainerConfig({
    pod: podOf({ ...spec, containers: [own] }),
    container: own,
    nodeName: 'n1',
    sandboxId: 'sandbox',
    attempt: 2,
    image: { id: 'sha256:1', user: '', workingDir: '' },
    variables: new Map([['A', 'x']]),
    mounts: [{ Type: 'bind', Source: '/pods/etc-hosts', Target: '/etc/hosts' }],
    logPath: '/log/2.log',
    cgroupParent: '/kubepods/pod1',
    resources: { CpuShares: 102, Memory: 1024, MemorySwap: 1024 },
    oomScoreAdj: 900,
    security: { seccompDefault: false },
    log: { maxSizeBytes: 1000, maxFiles: 3 },
    ...input,
  });
}

test('the whole create call', (t) => {
  t.deepEqual(configOf({ command: ['run', '$(A)'], args: ['$(B)'], workingDir: '/w' }), {
    Image: 'sha256:1',
    Entrypoint: ['run', 'x'],
    Cmd: ['$(B)'],
    Env: ['A=x'],
    WorkingDir: '/w',
    Labels: {
      'io.kubernetes.pod.name': 'web',
      'io.kubernetes.pod.namespace': 'default',
      'io.kubernetes.pod.uid': 'uid-1',
      'berth.node': 'n1',
      'io.kubernetes.container.name': 'app',
      'io.kubernetes.docker.type': 'container',
      'berth.image': 'busybox:1',
      'io.kubernetes.sandbox.id': 'sandbox',
      'io.kubernetes.container.logpath': '/log/2.log',
      'annotation.io.kubernetes.container.hash': 'b8b8d893',
      'annotation.io.kubernetes.container.restartCount': '2',
      'annotation.io.kubernetes.container.terminationMessagePath': '/dev/termination-log',
      'annotation.io.kubernetes.container.terminationMessagePolicy': 'File',
      'annotation.io.kubernetes.pod.terminationGracePeriod': '30',
    },
    OpenStdin: false,
    StdinOnce: false,
    Tty: false,
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: 'container:sandbox',
      IpcMode: 'container:sandbox',
      CpuShares: 102,
      Memory: 1024,
      MemorySwap: 1024,
      SecurityOpt: ['seccomp=unconfined'],
      MaskedPaths: [...MASKED_PATHS],
      ReadonlyPaths: [...READ_ONLY_PATHS],
      OomScoreAdj: 900,
      CgroupParent: '/kubepods/pod1',
      RestartPolicy: { Name: 'no' },
      Mounts: [{ Type: 'bind', Source: '/pods/etc-hosts', Target: '/etc/hosts' }],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '1000', 'max-file': '3', compress: 'true' } },
    },
  });
});

test('names and labels lead back to the container', (t) => {
  const identity = { podName: 'web.x', podNamespace: 'default', podUid: 'uid-1', container: 'app', attempt: 2 };
  const name = formatContainerName({ ...identity, podName: 'web' });
  t.is(name, 'k8s_app_web_default_uid-1_2');
  const parsed = { ...identity, podName: 'web' };
  t.deepEqual(parseIdentity(name, configOf().Labels!), parsed);
  t.deepEqual(parseIdentity(`${name}_1a2b3c4d`, configOf().Labels!), parsed);
  t.is(parseIdentity(name, {}), undefined);
  t.is(parseIdentity('nginx', configOf().Labels!), undefined);
});

test('namespaces', (t) => {
  const modes = (spec: Partial<Pod['spec']>) => {
    const { NetworkMode, IpcMode, PidMode, UTSMode } = configOf({}, spec).HostConfig!;
    return { NetworkMode, IpcMode, PidMode, UTSMode };
  };
  const sandbox = 'container:sandbox';
  t.deepEqual(modes({ shareProcessNamespace: true }), {
    NetworkMode: sandbox,
    IpcMode: sandbox,
    PidMode: sandbox,
    UTSMode: undefined,
  });
  t.deepEqual(modes({ hostNetwork: true, hostPID: true, hostIPC: true }), {
    NetworkMode: sandbox,
    IpcMode: 'host',
    PidMode: 'host',
    UTSMode: 'host',
  });
});

test('a negative size of logs switches rotation off', (t) => {
  t.deepEqual(buildLogConfig({ maxSizeBytes: -1, maxFiles: 5 }), { Type: 'json-file', Config: {} });
});
