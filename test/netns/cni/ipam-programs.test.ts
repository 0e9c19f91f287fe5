/** host-local and static as programs: what ours answers is what the reference plugins of Debian answer, and their files are each other's. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { createHostLocal } from '../../../cni/ipam/host-local.ts';
import { ownPlugins } from '../../../cni/programs/all.ts';
import { callPlugin } from '../../../cni/wire/call.ts';
import { run as runProgram } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';

const reference = debianProgramPath(CHECKOUT, cniPlugins);
const both = existsSync(reference) ? test : test.skip;
const name = (title: string) =>
  `${title}${existsSync(reference) ? '' : ' (containernetworking-plugins of Debian could not be had)'}`;
type Set = 'ours' | 'reference';
const own = ownPlugins({ run: runProgram, sleep: systemClock.sleep });

interface Call {
  type?: string;
  command?: string;
  id?: string;
  ipam?: object;
  conf?: object;
  args?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: what the program printed
type Printed = any;

function setUp(t: ExecutionContext) {
  const base = mkdtempSync(join(tmpdir(), 'berth-ipam-'));
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  const dataDir = (set: Set) => join(base, set);
  const call = async (set: Set, what: Call, from: Set = set): Promise<{ status: number | null; out: Printed }> => {
    const type = what.type ?? 'host-local';
    const dir = type === 'host-local' ? { dataDir: dataDir(from) } : {};
    const env = {
      CNI_COMMAND: what.command ?? 'ADD',
      CNI_CONTAINERID: what.id ?? 'one',
      // Addresses need no namespace.
      CNI_NETNS: '/proc/self/ns/net',
      CNI_NETNS_OVERRIDE: '1',
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/nowhere',
      CNI_ARGS: what.args ?? '',
    };
    const ipam = { type, ...dir, ...what.ipam };
    const input = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'x', ipam, ...what.conf });
    // Ours without starting a process: dozens of calls; `programs.test.ts` has the bundled program.
    if (set === 'ours') {
      const { stdout, exitCode } = await callPlugin(own.get(type)!, env, input);
      return { status: exitCode, out: stdout.trim() === '' ? undefined : JSON.parse(stdout) };
    }
    const { status, stdout, stderr } = spawnSync(join(reference, type), {
      env,
      input,
      encoding: 'utf8',
      timeout: 20_000,
    });
    t.is(status === 0 || stdout !== '', true, stderr);
    return { status, out: stdout.trim() === '' ? undefined : JSON.parse(stdout) };
  };
  const files = (set: Set) => {
    const directory = join(dataDir(set), 'net');
    const entries = existsSync(directory) ? readdirSync(directory).sort() : [];
    return entries.map((entry) =>
      entry === 'lock' ? entry : `${entry} ${readFileSync(join(directory, entry), 'utf8')}`,
    );
  };
  return { base, dataDir, call, files };
}

const SUBNET = { ranges: [[{ subnet: '10.9.0.0/24' }]] };
const DUAL = { ranges: [[{ subnet: '10.9.0.0/24' }], [{ subnet: 'fd00:9::/64' }]] };
/** Where Debian's version is of another mind than today's, what differs is told. */
const CASES: Record<string, Call[]> = {
  'one range, routes': [{ ipam: { ...SUBNET, routes: [{ dst: '0.0.0.0/0' }, { dst: '10.0.0.0/8', gw: '10.9.0.7' }] } }],
  'the oldest form': [
    { ipam: { subnet: '10.9.0.0/24', rangeStart: '10.9.0.30', rangeEnd: '10.9.0.31', gateway: '10.9.0.254' } },
  ],
  'the oldest form before sets': [{ ipam: { subnet: '10.8.0.0/24', ranges: [[{ subnet: '10.9.0.0/24' }]] } }],
  'two families': [{ ipam: DUAL }, { ipam: DUAL, id: 'two' }],
  'ranges of one set one after another': [1, 2, 3, 4].map((n) => ({
    id: `id${n}`,
    ipam: {
      ranges: [
        [
          { subnet: '10.9.0.0/24', rangeStart: '10.9.0.10', rangeEnd: '10.9.0.11' },
          { subnet: '10.9.5.0/24', rangeStart: '10.9.5.1', rangeEnd: '10.9.5.2' },
        ],
      ],
    },
  })),
  'ranges that the runtime offers': [
    { ipam: SUBNET, conf: { runtimeConfig: { ipRanges: [[{ subnet: '10.7.0.0/24' }]] } } },
  ],
  'by CNI_ARGS': [{ ipam: SUBNET, args: 'IgnoreUnknown=1;IP=10.9.0.77' }],
  'by args.cni.ips': [{ ipam: DUAL, conf: { args: { cni: { ips: ['fd00:9::77', '10.9.0.78'] } } } }],
  'by runtimeConfig.ips': [{ ipam: SUBNET, conf: { runtimeConfig: { ips: ['10.9.0.79/24'] } } }],
  'asked for and another’s': [
    { ipam: SUBNET, args: 'IP=10.9.0.77', id: 'two' },
    { ipam: SUBNET, args: 'IP=10.9.0.77' },
  ],
  'asked for and in no range': [{ ipam: SUBNET, args: 'IP=10.1.0.77' }],
  'asked for two of one set': [{ ipam: SUBNET, conf: { args: { cni: { ips: ['10.9.0.78', '10.9.0.79'] } } } }],
  'asked for the gateway': [{ ipam: SUBNET, args: 'IP=10.9.0.1' }],
  'exhausted, freed, given again': [
    ...['a', 'b', 'c'].map((id) => ({ id, ipam: { ranges: [[{ subnet: '10.9.0.0/30', gateway: '10.9.0.2' }]] } })),
    { id: 'a', command: 'DEL', ipam: { ranges: [[{ subnet: '10.9.0.0/30', gateway: '10.9.0.2' }]] } },
    { id: 'c', ipam: { ranges: [[{ subnet: '10.9.0.0/30', gateway: '10.9.0.2' }]] } },
  ],
  'the second set is exhausted': ['a', 'b'].map((id) => ({
    id,
    ipam: { ranges: [[{ subnet: '10.9.0.0/24' }], [{ subnet: '10.9.1.0/30' }]] },
  })),
  'twice the same': [{ ipam: SUBNET }, { ipam: SUBNET }],
  'sets that overlap': [{ ipam: { ranges: [[{ subnet: '10.9.0.0/24' }], [{ subnet: '10.9.0.0/16' }]] } }],
  'ranges that overlap': [
    {
      ipam: {
        ranges: [
          [
            { subnet: '10.9.0.0/24', rangeEnd: '10.9.0.9' },
            { subnet: '10.9.0.0/24', rangeStart: '10.9.0.9' },
          ],
        ],
      },
    },
  ],
  'no range': [{ ipam: {} }],
  'a subnet too small': [{ ipam: { ranges: [[{ subnet: '10.9.0.0/31' }]] } }],
  'a gateway outside': [{ ipam: { ranges: [[{ subnet: '10.9.0.0/24', gateway: '10.8.0.1' }]] } }],
  'a start outside': [{ ipam: { ranges: [[{ subnet: '10.9.0.0/24', rangeStart: '10.8.0.1' }]] } }],
  'families mixed in a set': [{ ipam: { ranges: [[{ subnet: '10.9.0.0/24' }, { subnet: 'fd00::/64' }]] } }],
  'old results hold one address of a family': [
    { conf: { cniVersion: '0.2.0' }, ipam: { ranges: [[{ subnet: '10.9.0.0/24' }], [{ subnet: '10.8.0.0/24' }]] } },
    { conf: { cniVersion: '0.2.0' }, ipam: DUAL },
  ],
  'CHECK with and without a reservation': [
    { ipam: SUBNET },
    { command: 'CHECK', ipam: SUBNET, conf: { prevResult: { ips: [{ address: '10.9.0.2/24' }] } } },
    { command: 'CHECK', id: 'nobody', ipam: SUBNET, conf: { prevResult: { ips: [{ address: '10.9.0.2/24' }] } } },
  ],
  'DEL of nobody': [{ command: 'DEL', ipam: SUBNET }],
  'CNI_ARGS that nobody knows': [
    { ipam: SUBNET, args: 'COLOUR=red' },
    { ipam: SUBNET, args: 'COLOUR=red;IgnoreUnknown=false' },
    { ipam: SUBNET, args: 'COLOUR=red;IgnoreUnknown=perhaps' },
    { ipam: SUBNET, args: 'COLOUR=red;IgnoreUnknown=true' },
    { type: 'static', ipam: { addresses: [{ address: '10.7.0.9/24' }] }, args: 'COLOUR=red' },
  ],
  'static, CHECK': ['10.7.0.1', '10.7.0.2'].map((gateway) => ({
    type: 'static',
    command: 'CHECK',
    ipam: { addresses: [{ address: '10.7.0.9/24', gateway: '10.7.0.1' }] },
    conf: { prevResult: { ips: [{ address: '10.7.0.9/24', gateway }] } },
  })),
  static: [
    {
      type: 'static',
      ipam: {
        addresses: [{ address: '10.7.0.9/24', gateway: '10.7.0.1' }, { address: 'fd00:7::9/64' }],
        routes: [{ dst: '0.0.0.0/0' }],
        dns: { nameservers: ['10.0.0.10'], search: ['a'] },
      },
    },
  ],
  'static, with CNI_ARGS': [
    {
      type: 'static',
      ipam: { addresses: [{ address: '10.7.0.9/24' }] },
      args: 'IP=10.8.0.9/24,fd00:8::9/64;GATEWAY=10.8.0.1,fd00:8::1,10.7.0.1',
    },
  ],
  'static, by args.cni.ips': [
    {
      type: 'static',
      ipam: { addresses: [{ address: '10.7.0.9/24' }] },
      conf: { args: { cni: { ips: ['10.6.0.9/24'] } } },
    },
  ],
  'static, by runtimeConfig': [
    {
      type: 'static',
      ipam: { addresses: [{ address: '10.7.0.9/24' }] },
      conf: { runtimeConfig: { ips: ['10.5.0.9/24'] } },
      args: 'IP=10.8.0.9/24',
    },
  ],
  'static, no address': [{ type: 'static', ipam: { addresses: [{ address: '10.7.0.9' }] } }],
  'static, a gateway that is none': [
    { type: 'static', ipam: { addresses: [{ address: '10.7.0.9/24' }] }, args: 'GATEWAY=x' },
  ],
  'static, old results hold one address of a family': [
    {
      type: 'static',
      conf: { cniVersion: '0.2.0' },
      ipam: { addresses: [{ address: '10.7.0.9/24' }, { address: '10.8.0.9/24' }] },
    },
  ],
};

for (const [title, calls] of Object.entries(CASES))
  both(name(`as the reference: ${title}`), async (t) => {
    const { call, files } = setUp(t);
    const seen = async (set: Set) => {
      const outcomes: Printed[] = [];
      for (const what of calls) {
        const { status, out } = await call(set, what);
        // Codes and words are of each one's own; that it is refused, and what is left then, is not.
        outcomes.push(status === 0 ? out : 'refused');
      }
      // What was last given out of a set is written before a later set refuses.
      const isWhole = outcomes.every((outcome) => outcome !== 'refused');
      return { outcomes, files: files(set).filter((line) => isWhole || /^[0-9a-f]+[.:]/.test(line)) };
    };
    const ours = await seen('ours');
    t.deepEqual(ours, await seen('reference'));
    t.is(ours.outcomes.length, calls.length);
  });

both(name('the resolver of a file becomes dns, as with the reference'), async (t) => {
  const { call, base } = setUp(t);
  const resolvConf = join(base, 'resolv.conf');
  writeFileSync(
    resolvConf,
    '; a comment\nnameserver 10.0.0.10\nnameserver fd00::10\ndomain a.example\nsearch b c\noptions ndots:5 edns0\n',
  );
  const of = async (set: Set) => (await call(set, { ipam: { ...SUBNET, resolvConf } })).out.dns;
  t.deepEqual(await of('ours'), await of('reference'));
  t.not((await call('ours', { id: 'two', ipam: { ...SUBNET, resolvConf: join(base, 'none') } })).status, 0);
});

both(
  name('R3: leases of a host that was switched off are given back by a list of who lives: ours, and the reference’s'),
  async (t) => {
    const { call, dataDir, files } = setUp(t);
    const ipam = { ranges: [[{ subnet: '10.9.0.0/29' }]] };
    for (const [index, set] of (['ours', 'reference', 'reference', 'ours', 'reference'] as const).entries())
      t.is((await call(set, { id: `dead${index}`, ipam }, 'ours')).status, 0);
    writeFileSync(join(dataDir('ours'), 'net/10.9.0.2'), 'from-an-older-version');
    t.not((await call('ours', { id: 'fresh', ipam })).status, 0, 'the dead ones hold everything');
    const cniVersion = '1.1.0';
    const valid = { 'cni.dev/valid-attachments': [{ containerID: 'dead3', ifname: 'eth0' }] };
    t.is((await call('ours', { command: 'GC', ipam, conf: { cniVersion, ...valid } })).status, 0);
    t.deepEqual(
      files('ours').filter((line) => /^10\./.test(line)),
      ['10.9.0.5 dead3\r\neth0'],
    );
    t.is((await call('ours', { id: 'fresh', ipam })).status, 0);
    // The next one by the reference plugin, in turn.
    t.is((await call('reference', { id: 'theirs', ipam }, 'ours')).out.ips[0].address, '10.9.0.3/29');
  },
);

const run = promisify(execFile);

both(name('twenty processes at once, ours and the reference’s: no address twice, none lost'), async (t) => {
  const { dataDir } = setUp(t);
  const directory = dataDir('ours');
  mkdirSync(directory);
  const config = { network: 'net', dataDir: directory, ranges: [[{ subnet: '10.9.0.0/24' }]], routes: [] };
  const child = join(CHECKOUT, 'test/support/host-local-child.ts');
  const mine = Array.from({ length: 10 }, async (_, n) => {
    const { stdout } = await run(process.execPath, [child, JSON.stringify(config), `p${n}`, '8']);
    return stdout.trim().split('\n');
  });
  const theirs = Array.from({ length: 10 }, async (_, n) => {
    const started = run(join(reference, 'host-local'), {
      env: {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: `r${n}`,
        // Addresses need no namespace.
        CNI_NETNS: '/proc/self/ns/net',
        CNI_NETNS_OVERRIDE: '1',
        CNI_IFNAME: 'eth0',
        CNI_PATH: '/nowhere',
      },
    });
    const ipam = { type: 'host-local', dataDir: directory, ranges: config.ranges };
    started.child.stdin!.end(JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'x', ipam }));
    return [JSON.parse((await started).stdout).ips[0].address as string];
  });
  const given = (await Promise.all([...mine, ...theirs])).flat();
  t.is(given.length, 90);
  t.is(new Set(given).size, 90);
  t.is((await createHostLocal(systemClock).leases(config)).length, 90);
});
