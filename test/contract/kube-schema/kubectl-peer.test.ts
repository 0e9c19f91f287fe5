import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { decodeObject } from '../../../src/kube/schema/decode-object.ts';
import { strategicMerge } from '../../../src/kube/schema/strategic-merge.ts';
import { schemaOf } from '../../../src/kube/schema/tables.ts';
import { findKubectl } from '../../support/kubectl.ts';
import { createRandomPatches } from './random-patch.ts';

/**
 * The same questions to our schema code and to the Go code that kubectl has inside: `kubectl patch --local` merges and
 * `kubectl set image --local` decodes, both without a server.
 */
const found = await findKubectl();
const check = 'program' in found ? test.serial : test.serial.skip;
const suffix = 'skip' in found ? ` (skipped: ${found.skip})` : '';
const exec = promisify(execFile);

type Fields = Record<string, unknown>;
let folder: string;

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'berth-kube-schema-'));
});
test.after.always(() => rm(folder, { recursive: true, force: true }));

/** Runs kubectl on `object`; the answer is its JSON output or its error. */
async function ask(object: string, args: string[]): Promise<{ object?: Fields; error?: string }> {
  const file = join(folder, 'object.json');
  await writeFile(file, object);
  try {
    const command = [...args, '--local', '-f', file, '-o', 'json', '--server', 'http://127.0.0.1:1'];
    const { stdout } = await exec('program' in found ? found.program : '', command, {
      timeout: 30_000,
      env: { HOME: folder, PATH: process.env.PATH },
    });
    return { object: JSON.parse(stdout) as Fields };
  } catch (error) {
    const text = ((error as { stderr?: string }).stderr || String(error)).trim();
    return { error: text.replace(/^error: (unable to decode "[^"]*": )?/, '') };
  }
}

/** Without nulls, and without directives that Go leaves standing in new list elements. */
function settled(value: unknown): unknown {
  const gone = (item: unknown): boolean => item === null || (item as Fields)?.['$patch'] === 'delete';
  if (Array.isArray(value)) return value.filter((item) => !gone(item)).map(settled);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([key, item]) => !key.startsWith('$') && !gone(item));
  return Object.fromEntries(entries.map(([key, item]) => [key, settled(item)]));
}

check(`random strategic merge patches give what kubectl makes of them${suffix}`, async (t) => {
  const random = createRandomPatches(20260101);
  let merged = 0;
  for (let round = 0; round < 60; round++) {
    const { original, patch } = random.next();
    const what = `${JSON.stringify(original)}\n${JSON.stringify(patch)}`;
    const peer = await ask(JSON.stringify(original), ['patch', '--type=strategic', '-p', JSON.stringify(patch)]);
    // Go refuses to order two empty lists; there is nothing to order.
    if (peer.error?.includes('no elements in any of the given slices')) continue;
    if (peer.error)
      t.throws(() => strategicMerge(original, patch, schemaOf('v1', 'Pod')!), undefined, `${peer.error}\n${what}`);
    else {
      t.deepEqual(settled(strategicMerge(original, patch, schemaOf('v1', 'Pod')!)), settled(peer.object), what);
      merged++;
    }
  }
  t.true(merged > 30);
});

const container = (fields: string) => `{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c",${fields}}]}}`;
const spec = (fields: string) => `{"apiVersion":"v1","kind":"Pod","spec":{${fields}}}`;

const wrong = [
  spec('"containers":"x"'),
  spec('"hostNetwork":"yes"'),
  spec('"priority":3000000000'),
  spec('"priority":1.0'),
  spec('"nodeSelector":["a"]'),
  spec('"terminationGracePeriodSeconds":9223372036854775808'),
  spec('"volumes":[{"name":"v","emptyDir":5}]'),
  container('"command":[1]'),
  container('"env":[{"name":"a","valueFrom":{"fieldRef":"x"}}]'),
  container('"livenessProbe":{"httpGet":{"port":true}}'),
  container('"resources":{"limits":{"cpu":"much"}}'),
  container('"resources":{"limits":{"cpu":{}}}'),
  '{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a":1}}}',
  '{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"now"}}',
  '{"apiVersion":"v1","kind":"Pod","metadata":[]}',
];
check(`values of a wrong type are refused in kubectl's words${suffix}`, async (t) => {
  for (const body of wrong) {
    const { error } = await ask(body, ['set', 'image', 'c=x']);
    t.throws(() => decodeObject(Buffer.from(body), 'json'), { message: error }, body);
  }
});

/** Go prints nulls, and empty structs that are not pointers. */
function withoutEmpty(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutEmpty(item));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, withoutEmpty(item, key)] as const);
  return Object.fromEntries(
    entries.filter(
      ([key, item]) => item !== null && (key === 'emptyDir' || name === 'emptyDir' || JSON.stringify(item) !== '{}'),
    ),
  );
}

check(`zeros, nulls, quantities and times come out as from kubectl${suffix}`, async (t) => {
  const quantities = [
    '"1.5"',
    '"1000m"',
    '"1024Mi"',
    '"1.5Gi"',
    '"1e3"',
    '"0.1Ki"',
    '"123456789012345678901"',
    '"0.0001"',
    '"20Ei"',
    '".5"',
    '1',
    '0.5',
    '1.50',
    '123456789012345678901',
    '0.30000000000000004',
  ];
  const body = `{"apiVersion":"v1","kind":"Pod",
    "metadata":{"name":"p","creationTimestamp":"2026-03-01T01:02:03.999+05:30","generation":0,"labels":{},"annotations":{"a":""},"finalizers":[]},
    "spec":{"nodeName":"","hostNetwork":false,"priority":0,"nodeSelector":{},"tolerations":[{}],"schedulerName":null,
      "volumes":[{"name":"v","emptyDir":{"sizeLimit":"1024Mi"}},{"name":"w","emptyDir":{}},{"name":"","configMap":{"name":"","items":[],"optional":false}}],
      "containers":[{"name":"c","image":"x","env":[{"name":"","value":""}],"ports":[{"containerPort":0,"hostPort":0}],"args":[null,""],"stdin":false,
        "livenessProbe":{"httpGet":{"port":0},"initialDelaySeconds":0},"readinessProbe":{"tcpSocket":{"port":"x"}},
        "resources":{"limits":{${quantities.map((quantity, index) => `"k${index}":${quantity}`)}}}}]}}`;
  // kubectl prints nothing when nothing changes.
  const { object, error } = await ask(body, ['set', 'image', 'c=y']);
  t.is(error, undefined);
  const ours = decodeObject(Buffer.from(body.replace('"image":"x"', '"image":"y"')), 'json');
  t.deepEqual(withoutEmpty(ours.object), withoutEmpty(object));
});
