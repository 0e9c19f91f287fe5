/** Go's encoding/gob: streams that Go itself wrote, ours beside them, and what hostile ones come to. */
import test from 'ava';
import { GobError } from '../../../../cni/ipam/dhcp/gob/bytes.ts';
import { createGobDecoder } from '../../../../cni/ipam/dhcp/gob/decoder.ts';
import { createGobEncoder, type StructSchema } from '../../../../cni/ipam/dhcp/gob/encoder.ts';
import type { GobValue } from '../../../../cni/ipam/dhcp/gob/values.ts';
import { createRandom } from '../../../support/random.ts';

const decode = (hex: string) => createGobDecoder().push(Buffer.from(hex, 'hex'));
/** Structs as plain objects, bytes as hexadecimal text. */
function plain(value: GobValue): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, field]) => [name, plain(field)]));
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && 'entries' in value)
    return { entries: value.entries.map(([key, element]) => [plain(key), plain(element)]) };
  return value;
}
const decodePlain = (hex: string) => decode(hex).map(plain);

/** By Go 1.19's own encoder, of types that have all kinds of fields. */
const FROM_GO = {
  /** true, -129, uint 256, 17.0, text, bytes, a complex number, texts, a map, an array. */
  singles:
    '03020001050400fe0101050600fe0100050800fe3140060c000368c3a9050a00020102070e00fef03fffc00cff8b020102ff' +
    '8c00010c000007ff8c00020161000eff8d040102ff8e0001040102000006ff8e00010e010eff8f010102ff90000104010400' +
    '0006ff900002000a',
  everything:
    'ffb7ff9103010103416c6c01ff9200011401035965730102000105536d616c6c01040001034e656701040001054c65617374' +
    '0104000103426967010600010146010800010143010e00010153010c000103526177010a000104466f757201ff940001044e' +
    '756d7301ff96000105546872656501ff980001014d01ff9a000102496e01ff9c0001015001ff9c000103496e7301ff9e0001' +
    '02536801100001034e696c01100001045768656e01ffa00001034e657401ff8800000018ff93010101085b345d75696e7438' +
    '01ff940001060108000013ff95020101055b5d696e7401ff96000104000016ff97010101065b335d696e7401ff9800010401' +
    '0600001eff990401010e6d61705b737472696e675d696e7401ff9a00010c010400001fff9b03010105496e6e657201ff9c00' +
    '0102010141010400010142010c0000001cff9d0201010d5b5d2a6d61696e2e496e6e657201ff9e0001ff9c000010ff9f0501' +
    '010454696d6501ffa000000023ff870301010549504e657401ff8800010201024950010a0001044d61736b010a000000ff85' +
    'ff920101010501fa01ffffffffff01f8ffffffffffffffff01f8ffffffffffffffff01fee0bf0140fe084001047465787401' +
    '0200ff01040102000401030001f94000000000000001030002000101016b1201010201017800010104000102010601016300' +
    '00030f010000000e7791f70000000000ffff0101040a0500010104ffffff000000',
  tree:
    '2dffa1030101045472656501ffa200010301044e616d65010c0001044b69647301ffa4000102557001ffa60000001bffa302' +
    '01010c5b5d2a6d61696e2e5472656501ffa40001ffa2000026ffa5040101156d61705b737472696e675d2a6d61696e2e5472' +
    '656501ffa600010c01ffa2000019ffa20104726f6f74010101036b696400010101750101760000',
  requests:
    '2bffa70301010352657101ffa8000102010d536572766963654d6574686f64010c000103536571010600000012ffa8010d44' +
    '4843502e416c6c6f63617465001bffa8010c444843502e52656c6561736501f8800000000000000000',
  zeros:
    '0affa9030102ffaa00000003ffaa00ffb7ff9103010103416c6c01ff9200011401035965730102000105536d616c6c010400' +
    '01034e656701040001054c656173740104000103426967010600010146010800010143010e00010153010c00010352617701' +
    '0a000104466f757201ff940001044e756d7301ff96000105546872656501ff980001014d01ff9a000102496e01ff9c000101' +
    '5001ff9c000103496e7301ff9e000102536801100001034e696c01100001045768656e01ffa00001034e657401ff88000000' +
    '18ff93010101085b345d75696e743801ff940001060108000013ff95020101055b5d696e7401ff96000104000016ff970101' +
    '01065b335d696e7401ff98000104010600001eff990401010e6d61705b737472696e675d696e7401ff9a00010c010400001f' +
    'ff9b03010105496e6e657201ff9c000102010141010400010142010c0000001cff9d0201010d5b5d2a6d61696e2e496e6e65' +
    '7201ff9e0001ff9c000010ff9f0501010454696d6501ffa000000023ff870301010549504e657401ff880001020102495001' +
    '0a0001044d61736b010a00000012ff920a040000000002030000000200060000',
};

test('values of all kinds come as Go sent them', (t) => {
  t.deepEqual(decodePlain(FROM_GO.singles), [
    true,
    -129,
    256,
    17,
    'hé',
    '0102',
    { real: 1, imaginary: -2 },
    ['a', ''],
    { entries: [[7, true]] },
    [0, 5],
  ]);
  t.deepEqual(decodePlain(FROM_GO.everything), [
    {
      Yes: true,
      Small: -3,
      Neg: -(2 ** 40),
      Least: -(2n ** 63n),
      Big: 2n ** 64n - 1n,
      F: -0.5,
      C: { real: 2, imaginary: 3 },
      S: 'text',
      Raw: '00ff',
      Four: [1, 2, 0, 4],
      Nums: [0, -1, 2n ** 53n],
      Three: [0, 1, 0],
      M: { entries: [['k', 9]] },
      In: { A: 1, B: 'x' },
      P: { A: 2 },
      Ins: [{ A: 3, B: 'c' }, {}],
      // What a time makes of itself is its own matter.
      When: '010000000e7791f70000000000ffff',
      Net: { IP: '0a050001', Mask: 'ffffff00' },
    },
  ]);
});

test('a type that names itself; types that are defined behind those that name them; fields of zeros, which are not sent', (t) => {
  t.deepEqual(decodePlain(FROM_GO.tree), [
    { Name: 'root', Kids: [{ Name: 'kid' }], Up: { entries: [['u', { Name: 'v' }]] } },
  ]);
  t.deepEqual(decodePlain(FROM_GO.requests), [
    { ServiceMethod: 'DHCP.Allocate' },
    { ServiceMethod: 'DHCP.Release', Seq: 2n ** 63n },
  ]);
  t.deepEqual(decodePlain(FROM_GO.zeros), [{}, { Four: [0, 0, 0, 0], Three: [0, 0, 0], In: {}, Net: {} }]);
});

test('a stream may be cut anywhere', (t) => {
  const bytes = Buffer.from(FROM_GO.everything + FROM_GO.requests, 'hex');
  const whole = createGobDecoder().push(bytes).map(plain);
  t.is(whole.length, 3);
  const decoder = createGobDecoder();
  t.deepEqual([...bytes].flatMap((byte) => decoder.push(Uint8Array.from([byte]))).map(plain), whole);
  for (let at = 0; at <= bytes.length; at += 7) {
    const two = createGobDecoder();
    t.deepEqual([...two.push(bytes.subarray(0, at)), ...two.push(bytes.subarray(at))].map(plain), whole);
  }
});

const POINT: StructSchema = { name: 'Point', fields: { X: 'int', Y: 'int' } };

test('what is sent is the specification’s example, byte for byte; a type is described once', (t) => {
  const encoder = createGobEncoder();
  const value = '07ff82012c014200';
  t.is(
    encoder.encode(POINT, { X: 22, Y: 33 }).toString('hex'),
    `1fff8103010105506f696e7401ff8200010201015801040001015901040000 00${value}`.replace(' ', ''),
  );
  t.is(encoder.encode(POINT, { X: 22, Y: 33 }).toString('hex'), value);
  t.is(encoder.encode(POINT, { X: 0, Y: 33 }).toString('hex'), '05ff82024200', 'zero is not sent');
  t.is(createGobEncoder().encode('int', -129).toString('hex'), '050400fe0101');
});

test('what is sent comes back', (t) => {
  const line: StructSchema = {
    name: 'Line',
    fields: {
      Name: 'string',
      Points: { elements: POINT },
      Raw: 'bytes',
      Count: 'uint',
      Words: { elements: 'string' },
      None: POINT,
    },
  };
  const encoder = createGobEncoder();
  const decoder = createGobDecoder();
  for (const count of [1, 127, 128, 255, 2 ** 32, 2 ** 53 - 1, 2n ** 53n, 2n ** 64n - 1n]) {
    const value = {
      Name: 'é',
      Points: [{ X: -count, Y: 1 }, {}],
      Raw: Buffer.alloc(300, 7),
      Count: count,
      Words: ['', 'b'],
    };
    if (typeof count === 'bigint' && count > 2n ** 63n) value.Points = [];
    const [back] = decoder.push(encoder.encode(line, value)).map(plain);
    const { Points, ...rest } = value;
    t.deepEqual(back, { ...rest, ...(Points.length > 0 && { Points }), Raw: '07'.repeat(300) });
  }
  t.deepEqual(decoder.push(encoder.encode(line, {})).map(plain), [{}]);
});

/** A message of these bytes. */
const message = (hex: string) => `${(hex.length / 2).toString(16).padStart(2, '0')}${hex}`;
/** The definition of type 65, of what stands in its wireType. */
const defined = (wire: string) => message(`ff81${wire}`);
const definedLong = (wire: string) => `fe${(wire.length / 2 + 2).toString(16).padStart(4, '0')}ff81${wire}`;
/** `type T []T`: lists of lists without end. */
const LISTS = defined('02010001ff820000');
/** `type T []struct{}` (66): each element is one byte. */
const EMPTIES = defined('02010001ff840000') + message('ff830301000000');

const manyEmpties = (count: number) => {
  const body = Buffer.concat([
    Buffer.from('ff8200', 'hex'),
    Buffer.from([0xfd, count >> 16, count >> 8, count]),
    Buffer.alloc(count),
  ]);
  return Buffer.concat([Buffer.from([0xfd, body.length >> 16, body.length >> 8, body.length]), body]).toString('hex');
};

for (const [what, hex, problem] of [
  ['a value of a type that nobody defined', message('ff8200'), /type 65 is not defined/],
  ['a message of nothing', message(''), /1 bytes of 0/],
  ['a length of nine bytes', 'f7000000000000000001', /an integer of 9 bytes/],
  ['a message of four gigabytes', 'fcffffffff', /a message of 4294967295 bytes, 4194304 at most/],
  ['a text that is longer than its message', message('0c0005616263'), /a count of 5 with 3 bytes left/],
  ['a text of 2^64 - 1 bytes', message('0c00f8ffffffffffffffff61'), /a count of 18446744073709551615 with 1 bytes/],
  ['bytes behind the value', message('0600016100'), /2 bytes too many/],
  ['a single value without its mark', message('060161'), /begins with 0/],
  ['a definition that says nothing', defined('00'), /of one kind/],
  ['a definition of a type that there is', message('7d0300'), /type 63 is defined already/],
  ['a definition twice', defined('0501000000').repeat(2), /type 65 is defined already/],
  ['a field that the struct does not have', defined('0301000000') + message('ff820501'), /field 4 of a struct of 0/],
  [
    'an array of another length',
    defined('010100010401060000') + message('ff8200020202'),
    /2 elements of an array of 3/,
  ],
  ['a struct of too many fields', definedLong(`03010001fe0101${'00'.repeat(257)}0000`), /257 fields/],
  ['lists in lists in lists', LISTS + message(`ff8200${'01'.repeat(60)}00`), /nested more than 32 deep/],
  ['more values than a message may have', EMPTIES + manyEmpties(60_000), /more than 50000 values/],
  ['an interface that holds something', message('10000161'), /an interface that is not nil/],
] as const)
  test(`refuses ${what}`, (t) => {
    t.throws(() => decode(hex), { name: 'GobError', message: problem });
  });

test('more types than a stream may define', (t) => {
  const encoder = createGobEncoder();
  const decoder = createGobDecoder();
  for (let n = 0; n < 256; n++) decoder.push(encoder.encode({ name: 'T', fields: {} }, {}));
  t.throws(() => decoder.push(encoder.encode({ name: 'T', fields: {} }, {})), { message: /more than 256 types/ });
});

test('a field is a name, whatever it says', (t) => {
  const odd: StructSchema = {
    name: 'Odd',
    fields: { ['__proto__']: 'string', constructor: 'string' } as StructSchema['fields'],
  };
  const [back] = createGobDecoder().push(createGobEncoder().encode(odd, { ['__proto__']: 'p', constructor: 'c' }));
  t.deepEqual(
    [...(back as Map<string, GobValue>)],
    [
      ['__proto__', 'p'],
      ['constructor', 'c'],
    ],
  );
});

test('streams with bytes changed, left out and put in are read or refused, and nothing else', (t) => {
  const { below, pick } = createRandom(0x60b);
  const streams = Object.values(FROM_GO).map((hex) => Buffer.from(hex, 'hex'));
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    let bytes = Buffer.from(pick(streams));
    for (let changes = 1 + below(4); changes > 0; changes--) {
      const at = below(bytes.length);
      const piece = pick([Buffer.from([below(256)]), Buffer.alloc(0), Buffer.from('f8ffffffffffffffff', 'hex')]);
      bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + below(3))]);
    }
    try {
      createGobDecoder().push(bytes);
    } catch (error) {
      if (!(error instanceof GobError)) return t.fail(`${bytes.toString('hex')}: ${error}`);
      refused += 1;
    }
  }
  t.true(refused > 5000 && refused < 20_000, `${refused} of 20000`);
});
