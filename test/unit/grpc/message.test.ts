import test from 'ava';
import { asKind, field, flag, integer, message, nested, repeated, text, textMap } from '../../../src/grpc/message.ts';

const Inner = message({ mode: field(1, integer) });
const Outer = message({
  id: field(1, text),
  options: textMap(2),
  inner: nested(3, Inner),
  empty: nested(4, message({})),
  on: field(5, flag),
  names: repeated(6, text),
  list: repeated(7, asKind(Inner)),
  size: field(100, integer),
});
const EMPTY = { id: '', options: {}, inner: undefined, empty: undefined, on: false, names: [], list: [], size: 0 };

test('what is zero or absent is not on the wire, and comes back as zero', (t) => {
  t.is(Outer.encode(EMPTY).length, 0);
  t.deepEqual(Outer.decode(Buffer.alloc(0)), EMPTY);
});

test('bytes are those of the protobuf specification', (t) => {
  const whole = {
    ...EMPTY,
    id: 'hé',
    options: { a: 'b' },
    inner: { mode: 150 },
    empty: {},
    on: true,
    names: ['x', ''],
  };
  const bytes = Outer.encode(whole);
  t.is(
    bytes.toString('hex'),
    // 1: "hé" · 2: {1: "a", 2: "b"} · 3: {1: 150} · 4: {} · 5: true · 6: "x" · 6: ""
    ['0a0368c3a9', '12060a0161120162', '1a03089601', '2200', '2801', '320178', '3200'].join(''),
  );
  t.deepEqual(Outer.decode(bytes), whole);
});

test('large and negative integers, field numbers of two bytes, messages in lists', (t) => {
  for (const size of [127, 128, 2 ** 31, 2 ** 40 + 5, -1, -(2 ** 40)]) {
    const whole = { ...EMPTY, size, list: [{ mode: 1 }, { mode: 0 }] };
    t.deepEqual(Outer.decode(Outer.encode(whole)), whole);
  }
  t.is(Outer.encode({ ...EMPTY, size: -1 }).toString('hex'), 'a006ffffffffffffffffff01');
});

test('an empty message inside is told from none', (t) => {
  t.deepEqual(Outer.decode(Outer.encode({ ...EMPTY, inner: { mode: 0 } })).inner, { mode: 0 });
});

test('unknown fields are skipped, also under a known number of another type', (t) => {
  const strange = Buffer.from([...[0x9a, 0x06, 1, 0x61], ...[0x08, 5], ...[0x7d, 1, 2, 3, 4], ...[0x0a, 1, 0x78]]);
  t.deepEqual(Outer.decode(strange), { ...EMPTY, id: 'x' });
});

test('what is cut off is an error', (t) => {
  t.throws(() => Outer.decode(Buffer.from([0x0a, 5, 0x78])), { message: /unexpected EOF/ });
});

test('a key may have any name', (t) => {
  const options = Object.fromEntries([['__proto__', 'x']]);
  t.deepEqual(Object.entries(Outer.decode(Outer.encode({ ...EMPTY, options })).options), [['__proto__', 'x']]);
});
