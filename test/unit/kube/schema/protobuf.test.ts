import { readFileSync } from 'node:fs';
import test from 'ava';
import { decodeProtobuf, isProtobuf } from '../../../../src/kube/schema/protobuf.ts';
import { registeredKinds } from '../../../../src/kube/schema/tables.ts';
import { encodeEnvelope, encodeObject } from './support/encode-protobuf.ts';
import { exampleOf } from './support/example.ts';

interface CapturedBody {
  path: string;
  contentType: string;
  base64: string;
  /** What the same kubectl prints for `--dry-run=client -o json`. */
  json?: Record<string, unknown>;
}

const bodies = JSON.parse(
  readFileSync(new URL('fixtures/kubectl-1.32-bodies.json', import.meta.url), 'utf8'),
) as Record<string, CapturedBody>;

/** Go prints nulls and empty structs that are not pointers; they say nothing. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, withoutEmpty(item)] as const);
  return Object.fromEntries(
    entries.filter(
      ([, item]) => item !== null && !(typeof item === 'object' && Object.keys(item as object).length === 0),
    ),
  );
}

for (const [name, { contentType, base64, json }] of Object.entries(bodies)) {
  if (!contentType.includes('protobuf')) continue;
  test(`body of kubectl 1.32: ${name}`, (t) => {
    const body = Buffer.from(base64, 'base64');
    t.true(isProtobuf(body));
    const decoded = decodeProtobuf(body);
    t.truthy(decoded.apiVersion);
    // Status is the server's; releases differ in which of its zeros they print.
    if (json) t.deepEqual(withoutEmpty({ ...decoded, status: null }), withoutEmpty({ ...json, status: null }));
  });
}

test('pointer fields keep an explicit zero, others lose it', (t) => {
  const deployment = decodeProtobuf(Buffer.from(bodies['deployment']!.base64, 'base64')) as unknown as {
    spec: { replicas: number; minReadySeconds?: number };
  };
  t.is(deployment.spec.replicas, 0);
  t.is(deployment.spec.minReadySeconds, undefined);
});

test('every registered kind survives a round trip', (t) => {
  let compared = 0;
  for (const { group, version, kind } of registeredKinds()) {
    const apiVersion = group === '' ? version : `${group}/${version}`;
    const object = exampleOf(apiVersion, kind);
    if (!object) continue;
    t.deepEqual(decodeProtobuf(encodeObject(object)), object as never, `${apiVersion} ${kind}`);
    compared++;
  }
  t.true(compared > 150);
});

test('what is no protobuf object is refused with the reason', (t) => {
  const cases: [Uint8Array, RegExp][] = [
    [Buffer.from('{}'), /expected prefix/],
    [Buffer.from('k8s\0'), /no kind "" is registered for version ""/],
    [encodeEnvelope('v1', 'Nothing', Buffer.alloc(0)), /no kind "Nothing" is registered for version "v1"/],
    [encodeEnvelope('v1', 'Pod', Buffer.from([0x0a, 0x20, 0x01])), /unexpected EOF/],
    [encodeEnvelope('v1', 'Pod', Buffer.from([0x7b])), /illegal wireType 3/],
    [encodeEnvelope('v1', 'Pod', Buffer.from([0x08, 0x01])), /wrong wireType = 0 for field Pod.metadata/],
    [
      encodeObject({ apiVersion: 'v1', kind: 'ResourceQuota', spec: { hard: { cpu: 'much' } } }),
      /quantities must match/,
    ],
    [encodeObject({ apiVersion: 'v1', kind: 'WatchEvent', object: {} }).subarray(0, -1), /unexpected EOF/],
    [
      encodeEnvelope('v1', 'Pod', Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
      /varint/,
    ],
  ];
  for (const [body, message] of cases) t.throws(() => decodeProtobuf(body), { name: 'DecodeError', message });
});

test('unknown fields are ignored, numbers keep their sign, int64 stays an int64', (t) => {
  const unknownField = Buffer.from([0xfa, 0x3f, 0x02, 0x01, 0x02, 0xf8, 0x3f, 0x05]);
  const empty = { apiVersion: 'v1', kind: 'ConfigMap', metadata: {} };
  t.deepEqual(decodeProtobuf(encodeEnvelope('v1', 'ConfigMap', unknownField)), empty);
  const negative = encodeObject({ apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', value: -5 });
  t.is(decodeProtobuf(negative)['value'], -5);
  const options = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 2 ** 63 };
  t.is(BigInt(decodeProtobuf(encodeObject(options))['gracePeriodSeconds'] as number), 2n ** 63n - 1024n);
});

test('damaged bodies are refused or decoded, never anything else', (t) => {
  let seed = 42;
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor((seed / 2147483648) * below);
  };
  const examples = registeredKinds()
    .map(({ group, version, kind }) => exampleOf(group === '' ? version : `${group}/${version}`, kind))
    .filter((object) => object !== undefined);
  const captured = Object.values(bodies).map(({ base64 }) => Buffer.from(base64, 'base64'));
  const whole = [...captured, ...examples.slice(0, 60).map(encodeObject)].filter(isProtobuf);
  let refused = 0;
  for (let round = 0; round < 4000; round++) {
    const body = Buffer.from(whole[random(whole.length)]!);
    for (let flips = 1 + random(3); flips > 0; flips--) body[4 + random(body.length - 4)] = random(256);
    try {
      decodeProtobuf(random(4) === 0 ? body.subarray(0, random(body.length)) : body);
    } catch (error) {
      refused++;
      t.is((error as Error).name, 'DecodeError', String((error as Error).stack));
    }
  }
  t.true(refused > 500);
});

test('an envelope in an envelope in an envelope … ends', (t) => {
  let body: Buffer = encodeEnvelope('v1', 'Pod', Buffer.alloc(0));
  const nested = (raw: Buffer): Buffer => Buffer.concat([varintField(0x12, varintField(0x0a, raw))]);
  for (let depth = 0; depth < 500; depth++) body = encodeEnvelope('v1', 'WatchEvent', nested(body));
  t.throws(() => decodeProtobuf(body), { name: 'DecodeError', message: /nested deeper/ });
});

function varintField(tag: number, bytes: Buffer): Buffer {
  const length: number[] = [];
  for (let rest = bytes.length; ; rest >>= 7) {
    length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    if (rest <= 0x7f) break;
  }
  return Buffer.concat([Buffer.from([tag, ...length]), bytes]);
}
