import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parseGoDurationMs } from '../../../src/config/duration.ts';
import {
  boolean,
  byteQuantity,
  choice,
  deferred,
  duration,
  ignored,
  integer,
  list,
  map,
  text,
  unsupported,
} from '../../../src/config/field.ts';
import { type ConfigDefinition, ConfigError, type ConfigFlag, loadConfig } from '../../../src/config/load.ts';
import { nearestName } from '../../../src/config/nearest-name.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-config-'));
test.after.always(() => rmSync(directory, { recursive: true }));

const fields = {
  name: text('node'),
  port: integer(10250, { max: 65535, zeroIsUnset: true }),
  period: duration(30_000),
  logMaxSize: byteQuantity(10 * 1024 * 1024),
  servers: list(),
  reserved: map(),
  iptables: { masqueradeBit: integer(14, { max: 31 }), mode: choice('nft', ['nft', 'legacy']) },
  podsPerCore: unsupported(integer(0)),
  shutdown: unsupported(duration(0)),
  qps: deferred(integer(5)),
  winkernel: ignored(map()),
  strict: boolean(false),
};
const definition: ConfigDefinition<typeof fields> = {
  apiVersion: 'test.berth/v1',
  kind: 'TestConfiguration',
  fields,
  validate(config, refuse) {
    if (config.strict && config.port === 1) refuse('port', 1, 'not 1 when strict');
  },
};
const HEAD = 'apiVersion: test.berth/v1\nkind: TestConfiguration\n';
let files = 0;

function load(body: string, flags: ConfigFlag[] = [], head = HEAD) {
  const file = join(directory, `${files++}.yaml`);
  writeFileSync(file, head + body);
  const warnings: string[] = [];
  try {
    const config = loadConfig(definition, { file, flags, onWarning: (message) => warnings.push(message) });
    return { config, problems: [], warnings };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: undefined, problems: error.problems.map((one) => one.replaceAll(file, 'FILE')), warnings };
  }
}

test('no file and no flags: all defaults, frozen to the bottom', (t) => {
  const config = loadConfig(definition);
  t.like(config, {
    name: 'node',
    port: 10250,
    periodMs: 30_000,
    logMaxSizeBytes: 10_485_760,
    iptables: { masqueradeBit: 14 },
  });
  t.true(Object.isFrozen(config) && Object.isFrozen(config.iptables) && Object.isFrozen(config.servers));
});

test('values are parsed at the edge', (t) => {
  const { config } = load(
    'period: 1m30s\nlogMaxSize: 1Ki\nservers: [a]\niptables: {masqueradeBit: 3}\nreserved: {cpu: 100m}\n',
  );
  t.like(config, {
    periodMs: 90_000,
    logMaxSizeBytes: 1024,
    servers: ['a'],
    iptables: { masqueradeBit: 3, mode: 'nft' },
  });
});

test("Go's zero values and null stand for the default", (t) => {
  const { config, problems } = load(
    'name: ""\nport: 0\nperiod: 0s\niptables: {masqueradeBit: null, mode: ""}\nservers: null\n',
  );
  t.deepEqual(problems, []);
  t.deepEqual(config, loadConfig(definition));
});

test('flags stand above the file', (t) => {
  const { config } = load('port: 1\nstrict: false\n', [
    { flag: '--port', field: 'port', value: '2' },
    { flag: '--servers', field: 'servers', value: 'a,b' },
    { flag: '--bit', field: 'iptables.masqueradeBit', value: '7' },
    { flag: '--reserved', field: 'reserved', value: 'cpu=1,memory=2Gi' },
    { flag: '--strict', field: 'strict', value: 'true' },
  ]);
  t.like(config, { port: 2, strict: true, iptables: { masqueradeBit: 7 } });
  t.deepEqual(config?.servers, ['a', 'b']);
  t.deepEqual(config?.reserved, { cpu: '1', memory: '2Gi' });
});

const REFUSED: [what: string, body: string, problems: string[]][] = [
  ['an unknown field with a near name', 'prot: 1\n', ['FILE:3: unknown field "prot" (value 1); did you mean "port"?']],
  [
    'a known name in the wrong place',
    'masqueradeBit: 1\n',
    ['FILE:3: unknown field "masqueradeBit" (value 1); did you mean "iptables.masqueradeBit"?'],
  ],
  [
    'an unknown field inside a group',
    'iptables:\n  masqradeBit: 1\n',
    ['FILE:4: unknown field "iptables.masqradeBit" (value 1); did you mean "iptables.masqueradeBit"?'],
  ],
  ['an unknown field like nothing', 'xyzzy: {a: 1}\n', ['FILE:3: unknown field "xyzzy" (value {"a":1})']],
  ['a wrong type', 'port: abc\n', ['FILE:3: field "port" is "abc"; accepted: an integer from 0 to 65535']],
  ['out of range', 'name: a\nport: 70000\n', ['FILE:4: field "port" is 70000; accepted: an integer from 0 to 65535']],
  [
    'not a duration',
    'period: 5 minutes\n',
    ['FILE:3: field "period" is "5 minutes"; accepted: a duration such as "30s" or "1h30m"'],
  ],
  [
    'not one of the choices',
    'iptables: {mode: ebtables}\n',
    ['FILE:3: field "iptables.mode" is "ebtables"; accepted: "nft", "legacy"'],
  ],
  ['not a map', 'iptables: 7\n', ['FILE:3: field "iptables" is 7; accepted: a map']],
  [
    'not supported yet, and not at its default',
    'podsPerCore: 10\n',
    ['FILE:3: field "podsPerCore" is 10; it is not supported yet: leave it out, or at its default 0'],
  ],
  ['fields that contradict', 'strict: true\nport: 1\n', ['FILE:4: field "port" is 1; accepted: not 1 when strict']],
  [
    'all problems are told at once',
    'prot: 1\nname: 5\n',
    ['FILE:3: unknown field "prot" (value 1); did you mean "port"?', 'FILE:4: field "name" is 5; accepted: a string'],
  ],
];
for (const [what, body, problems] of REFUSED)
  test(`refused: ${what}`, (t) => {
    t.deepEqual(load(body).problems, problems);
  });

test('refused: a flag names itself', (t) => {
  t.deepEqual(load('', [{ flag: '--port', field: 'port', value: 'x' }]).problems, [
    'flag --port: field "port" is "x"; accepted: an integer from 0 to 65535',
  ]);
});

test('not supported, but at its default: taken', (t) => {
  t.deepEqual(load('podsPerCore: 0\nshutdown: 0s\n').problems, []);
});

test('deferred fields warn, fields of other systems do not', (t) => {
  const { warnings, problems } = load('qps: 7\nwinkernel: {sourceVip: x, deep: {er: 1}}\n');
  t.deepEqual(problems, []);
  t.is(warnings.length, 1);
  t.regex(warnings[0]!, /:3: field "qps" is 7; it has no effect yet$/);
});

test('refused: another kind, several documents, broken YAML, no file', (t) => {
  t.deepEqual(load('', [], 'apiVersion: v1\nkind: Pod\n').problems, [
    'FILE: apiVersion is "v1", kind is "Pod"; accepted: "test.berth/v1" and "TestConfiguration"',
  ]);
  t.regex(load('---\na: 1\n').problems[0]!, /holds 2 YAML documents/);
  t.regex(load('port: 1\nport: 2\n').problems[0]!, /not YAML: Map keys must be unique/);
  t.throws(() => loadConfig(definition, { file: '/nonexistent/x.yaml' }), {
    message: /cannot read the configuration file \/nonexistent\/x.yaml: ENOENT/,
  });
});

test('Go durations', (t) => {
  const cases: [string, number | undefined][] = [
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['250ms', 250],
    ['0', 0],
    ['0s', 0],
    ['-5s', -5000],
    ['5', undefined],
    ['', undefined],
    ['1d', undefined],
    ['s', undefined],
  ];
  for (const [value, ms] of cases) t.is(parseGoDurationMs(value), ms, value);
});

test('the nearest name is near', (t) => {
  t.is(nearestName('clusterDns', ['clusterDNS', 'clusterDomain']), 'clusterDNS');
  t.is(nearestName('abcdef', ['clusterDNS']), undefined);
});
