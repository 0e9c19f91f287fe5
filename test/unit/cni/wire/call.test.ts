import test from 'ava';
import { CNI_ERROR, CniError, type Plugin } from '../../../../cni/types.ts';
import { callPlugin, type ProgramPlugin } from '../../../../cni/wire/call.ts';
import { SUPPORTED_VERSIONS } from '../../../../cni/wire/versions.ts';

const OWN_NETNS = '/proc/self/ns/net';
const ENV = { CNI_CONTAINERID: 'one', CNI_IFNAME: 'eth0', CNI_PATH: '/none' };
const CONF = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'mine', prevResult: null });

function program(change: Partial<Plugin<unknown>> = {}) {
  const calls: unknown[] = [];
  const plugin: Plugin<unknown> = {
    type: 'mine',
    async add(_config, request, previous) {
      calls.push(['add', request.netns, previous]);
      return { interfaces: [], ips: [], routes: [] };
    },
    async del(_config, request) {
      calls.push(['del', request.netns]);
    },
    async check() {},
    async gc(_config, valid) {
      calls.push(['gc', valid]);
    },
    async status() {},
    ...change,
  };
  const mine: ProgramPlugin = { type: 'mine', parse: () => ({}), open: () => ({ plugin, close() {} }) };
  return {
    calls,
    async call(env: Record<string, string>, stdin = CONF) {
      const { stdout, exitCode } = await callPlugin(mine, { ...ENV, ...env }, stdin);
      return { exitCode, out: stdout === '' ? undefined : JSON.parse(stdout) };
    },
  };
}

test('VERSION answers whatever is asked: in that version, else in the newest', async (t) => {
  for (const [stdin, cniVersion] of [
    ['{"cniVersion":"0.3.1"}', '0.3.1'],
    ['{"cniVersion":"9.9.9"}', '1.1.0'],
    ['', '1.1.0'],
    ['garbage', '1.1.0'],
  ])
    t.deepEqual(await program().call({ CNI_COMMAND: 'VERSION' }, stdin), {
      exitCode: 0,
      out: { cniVersion, supportedVersions: [...SUPPORTED_VERSIONS] },
    });
});

test('the host’s own namespace is no container’s: ADD and CHECK are refused, DEL leaves it alone', async (t) => {
  for (const command of ['ADD', 'CHECK']) {
    const { call, calls } = program();
    const conf = { cniVersion: '1.1.0', name: 'net', type: 'mine', prevResult: { cniVersion: '1.1.0' } };
    const { exitCode, out } = await call({ CNI_COMMAND: command, CNI_NETNS: OWN_NETNS }, JSON.stringify(conf));
    t.is(exitCode, 1);
    t.like(out, { code: CNI_ERROR.invalidNetns });
    t.regex(out.msg, /should not be the same: \/proc\/self\/ns\/net is the host's/);
    t.deepEqual(calls, []);
  }
  const { call, calls } = program();
  t.is((await call({ CNI_COMMAND: 'DEL', CNI_NETNS: OWN_NETNS })).exitCode, 0);
  t.is((await call({ CNI_COMMAND: 'DEL', CNI_NETNS: '/run/netns/gone' })).exitCode, 0);
  const overridden = { CNI_NETNS: OWN_NETNS, CNI_NETNS_OVERRIDE: 'TRUE' };
  t.is((await call({ CNI_COMMAND: 'DEL', ...overridden })).exitCode, 0);
  t.is((await call({ CNI_COMMAND: 'ADD', ...overridden })).exitCode, 0);
  t.deepEqual(calls, [
    ['del', undefined],
    ['del', undefined],
    ['del', OWN_NETNS],
    ['add', OWN_NETNS, undefined],
  ]);
});

test('GC refuses a list that it does not understand: what is missing in it would be released', async (t) => {
  for (const entry of [null, 7, {}, { containerID: 'one' }, { containerID: 5, ifname: 'eth0' }]) {
    const { call, calls } = program();
    const conf = { cniVersion: '1.1.0', name: 'net', type: 'mine', 'cni.dev/valid-attachments': [entry] };
    const { out } = await call({ CNI_COMMAND: 'GC' }, JSON.stringify(conf));
    t.like(out, { code: CNI_ERROR.invalidNetworkConfig, details: `there is ${JSON.stringify(entry)}` });
    t.deepEqual(calls, []);
  }
});

test('GC takes the list by its name of before the specification was final too', async (t) => {
  const { call, calls } = program();
  const attachments = [{ containerID: 'one', ifname: 'eth0' }];
  const conf = { cniVersion: '1.1.0', name: 'net', type: 'mine', 'cni.dev/attachments': attachments };
  t.is((await call({ CNI_COMMAND: 'GC' }, JSON.stringify(conf))).exitCode, 0);
  t.deepEqual(calls, [['gc', [{ containerId: 'one', ifname: 'eth0' }]]]);
});

test('errors keep their code through a DEL that goes on after a failure', async (t) => {
  const busy = new CniError(CNI_ERROR.tryAgainLater, 'locked', { details: 'by another' });
  const errno = Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' });
  const cases: [unknown, object][] = [
    [new AggregateError([busy], 'detach: locked'), { code: 11, msg: 'detach: locked', details: 'by another' }],
    [new AggregateError([new AggregateError([busy, busy], 'x')], 'y'), { code: 11, msg: 'y', details: 'by another' }],
    [new AggregateError([busy, errno], 'both'), { code: CNI_ERROR.unknown, msg: 'both' }],
    [errno, { code: CNI_ERROR.ioFailure, msg: 'EROFS: read-only file system' }],
    [new TypeError('a mistake'), { code: CNI_ERROR.unknown, msg: 'a mistake' }],
    ['thrown', { code: CNI_ERROR.unknown, msg: 'thrown' }],
  ];
  for (const [error, expected] of cases) {
    const del = async () => {
      throw error;
    };
    t.like((await program({ del }).call({ CNI_COMMAND: 'DEL' })).out, expected);
  }
});
