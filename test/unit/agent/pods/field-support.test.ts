import { readFileSync } from 'node:fs';
import test from 'ava';
import { FIELD_SUPPORT, supportOf } from '../../../../agent/pods/field-support/field-support.ts';
import { PAGE_PATH, podSpecTypes, renderPage } from '../../../../cli/maintenance/pod-fields-page.ts';

test('every field that a pod’s spec can have is accounted for', (t) => {
  const missing = podSpecTypes().flatMap((type) =>
    [...type.fields.keys()].filter((field) => !supportOf(type.name, field)).map((field) => `${type.name}.${field}`),
  );
  t.deepEqual(missing, []);
});

test('nothing is accounted for that the wire types do not have', (t) => {
  const types = new Map(podSpecTypes().map((type) => [type.name, type]));
  const unknown = Object.entries(FIELD_SUPPORT).flatMap(([type, fields]) =>
    Object.keys(fields)
      .filter((field) => (field === '*' ? !types.has(type) : !types.get(type)?.fields.has(field)))
      .map((field) => `${type}.${field}`),
  );
  t.deepEqual(unknown, []);
});

test('docs/pods.md shows what the code does (else: node cli/maintenance/pod-fields-page.ts)', (t) => {
  const page = readFileSync(PAGE_PATH, 'utf8');
  t.is(page, renderPage(page));
});
