import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { choosePodRuntime } from '../../../cli/engine/pod-runtime.ts';
import { renderPodRuntimeScript } from '../../../cli/engine/pod-runtime-script.ts';

const HOOKS = { prestart: [{ path: '/proc/7/exe', args: ['libnetwork-setkey', '-exec-root=/run/x', 'abc', 'def'] }] };

interface Bundle {
  process: { env: string[] };
  hostname: string;
  hooks?: object;
  linux: { namespaces: { type: string; path?: string }[] };
}

/** A config.json with the keys in the order that dockerd writes them. */
function bundle(env: string[], netPath?: string, hooks: object | null = HOOKS): Bundle {
  return {
    process: { env },
    hostname: 'web',
    ...(hooks && { hooks }),
    linux: {
      namespaces: [
        { type: 'mount' },
        { type: 'network', ...(netPath && { path: netPath }) },
        { type: 'uts' },
        { type: 'pid' },
        { type: 'ipc' },
      ],
    },
  };
}

/** What the runtime behind the script is called with and finds. */
function run(t: ExecutionContext, config: Bundle, args?: string[]): Bundle {
  const folder = mkdtempSync('/tmp/berth-unit-runtime-');
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'config.json');
  writeFileSync(file, JSON.stringify(config));
  const script = join(folder, 'runtime');
  writeFileSync(script, renderPodRuntimeScript('echo called'), { mode: 0o755 });
  const given = args ?? [
    '--root',
    '/r',
    '--log-format',
    'json',
    'create',
    '--bundle',
    folder,
    '--pid-file',
    '/p',
    'id',
  ];
  const { stdout, status, stderr } = spawnSync(script, given, { encoding: 'utf8' });
  t.is(status, 0, stderr);
  t.is(stdout.trim(), `called ${given.join(' ')}`, 'all arguments go on as they are');
  return JSON.parse(readFileSync(file, 'utf8')) as Bundle;
}

const namespace = ({ linux }: Bundle, type: string) => linux.namespaces.find((one) => one.type === type);

test('a pause: no hook of the Engine, the namespace of its variable, nothing else', (t) => {
  const config = run(t, bundle(['PATH=/bin', 'BERTH_NETNS=/proc/12/fd/34']));
  const expected = bundle(['PATH=/bin', 'BERTH_NETNS=/proc/12/fd/34'], '/proc/12/fd/34', null);
  t.deepEqual(config, expected);
});

test('an Engine without the hook (28 and later)', (t) => {
  const config = run(t, bundle(['BERTH_NETNS=/proc/12/fd/34'], undefined, null));
  t.is(namespace(config, 'network')?.path, '/proc/12/fd/34');
});

test("a hook that is not the Engine's own stays", (t) => {
  const hooks = { prestart: [{ path: '/usr/bin/nvidia-container-runtime-hook', args: ['hook', 'prestart'] }] };
  t.deepEqual(run(t, bundle(['BERTH_NETNS=/proc/1/fd/2'], undefined, hooks)).hooks, hooks);
});

test('only a descriptor of a process is joined, by its path', (t) => {
  for (const path of ['', '/etc/passwd', '/proc/1/ns/net', '/proc/self/fd/1', '/proc/1/fd/../ns/net'])
    t.is(namespace(run(t, bundle([`BERTH_NETNS=${path}`])), 'network')?.path, undefined, path);
});

test('a container of the pod: the UTS namespace of the process whose network it has', (t) => {
  const config = run(t, bundle(['A=b'], '/proc/99/ns/net', null));
  t.is(namespace(config, 'uts')?.path, '/proc/99/ns/uts');
  t.is(namespace(config, 'network')?.path, '/proc/99/ns/net');
});

test("a pod's own words are not mistaken for keys", (t) => {
  const words = [
    'X="BERTH_NETNS=/proc/1/fd/2","namespaces":[{"type":"network"}]',
    'Y={"type":"network","path":"/proc/1/ns/net"},{"type":"uts"}',
    'Z=\\"BERTH_NETNS=/proc/1/fd/2\\"',
  ];
  const plain = bundle(words);
  t.deepEqual(run(t, plain), plain);
  const host = bundle(words, '/var/run/docker/netns/default', null);
  t.deepEqual(run(t, host), host);
});

test('every call but create goes on untouched', (t) => {
  const config = bundle(['BERTH_NETNS=/proc/12/fd/34']);
  for (const args of [['start', 'id'], ['kill', 'id', '9'], ['--root', '/r', 'delete', '--force', 'id'], ['--version']])
    t.deepEqual(run(t, config, args), config);
});

test('the choice: what the Engine has, by name or by itself', (t) => {
  const securityOptions: string[] = [];
  t.is(choosePodRuntime('auto', { runtimes: ['runc', 'berth'], securityOptions }), 'berth');
  t.is(choosePodRuntime('auto', { runtimes: ['runc'], securityOptions }), undefined);
  t.is(choosePodRuntime('auto', { runtimes: ['runc', 'berth'], securityOptions: ['name=userns'] }), undefined);
  t.is(choosePodRuntime('none', { runtimes: ['runc', 'berth'], securityOptions }), undefined);
  t.is(choosePodRuntime('crun', { runtimes: ['runc', 'crun'], securityOptions }), 'crun');
  t.throws(() => choosePodRuntime('crun', { runtimes: ['runc'], securityOptions }), {
    message: /has no runtime of that name, only runc/,
  });
});
