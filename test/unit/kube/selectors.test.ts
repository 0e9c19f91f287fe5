import test from 'ava';
import {
  labelSelector,
  matchesFields,
  parseFieldSelector,
  parseLabelSelector,
  renderFieldSelector,
  SelectorError,
} from '../../../src/kube/selectors.ts';

const LABELS = { app: 'web', tier: 'front', 'example.com/size': '12', empty: '' };

for (const [text, expected] of [
  ['', true],
  ['app', true],
  ['!app', false],
  ['! missing', true],
  ['app=web', true],
  ['app==web', true],
  ['app = web , tier = front', true],
  ['app=web,tier=back', false],
  ['app!=web', false],
  ['missing!=web', true],
  ['app in (api, web)', true],
  ['app in (api)', false],
  ['app notin (api)', true],
  ['missing notin (api)', true],
  ['empty=', true],
  ['empty in ()', true],
  ['empty=,app=web', true],
  ['example.com/size>11', true],
  ['example.com/size<12', false],
  ['app>1', false],
] as const)
  test(`label selector ${JSON.stringify(text)} ${expected ? 'matches' : 'does not match'}`, (t) => {
    t.is(parseLabelSelector(text).matches(LABELS), expected);
  });

for (const text of ['=x', 'a=b,', 'a in x', 'a in (b', 'a b', 'a=b=c', '-a=b', 'a=b/c', 'x/y/z=1', 'a>b', ',', '(a)'])
  test(`label selector ${JSON.stringify(text)} is refused`, (t) => {
    t.throws(() => parseLabelSelector(text), { instanceOf: SelectorError });
  });

test('label selectors print canonically', (t) => {
  t.is(String(parseLabelSelector('b in (y,x),a==1,!c,d,e!=2,f in (z)')), 'a=1,b in (x,y),!c,d,e!=2,f=z');
});

test('LabelSelector objects: absent selects nothing, empty everything, expressions are ANDed', (t) => {
  t.false(labelSelector(undefined).matches(LABELS));
  t.true(labelSelector({}).matches(LABELS));
  t.true(labelSelector({}).matches(undefined));
  const selector = labelSelector({
    matchLabels: { app: 'web' },
    matchExpressions: [
      { key: 'tier', operator: 'In', values: ['front', 'mid'] },
      { key: 'gone', operator: 'DoesNotExist' },
    ],
  });
  t.true(selector.matches(LABELS));
  t.false(selector.matches({ ...LABELS, gone: '' }));
  t.throws(() => labelSelector({ matchExpressions: [{ key: 'a', operator: 'Near', values: [] }] }), {
    instanceOf: SelectorError,
  });
});

test('field selectors: operators, escapes, rendering', (t) => {
  const parsed = parseFieldSelector('metadata.name=a,status.phase!=Running,spec.x==b\\,c\\=d\\\\');
  t.deepEqual(parsed, [
    { field: 'metadata.name', operator: '=', value: 'a' },
    { field: 'status.phase', operator: '!=', value: 'Running' },
    { field: 'spec.x', operator: '=', value: 'b,c=d\\' },
  ]);
  t.is(renderFieldSelector(parsed), 'metadata.name=a,status.phase!=Running,spec.x=b\\,c\\=d\\\\');
  t.true(matchesFields(parsed, { 'metadata.name': 'a', 'spec.x': 'b,c=d\\' }));
  t.false(matchesFields(parsed, { 'metadata.name': 'a', 'status.phase': 'Running', 'spec.x': 'b,c=d\\' }));
  t.deepEqual(parseFieldSelector(''), []);
});

for (const text of ['metadata.name', 'a=b=c', 'a=b\\x'])
  test(`field selector ${JSON.stringify(text)} is refused`, (t) => {
    t.throws(() => parseFieldSelector(text), { instanceOf: SelectorError });
  });
