import test from 'ava';
import { parseQuery } from '../../../../control-plane/dns/query.ts';
import { readQuestionName } from '../../../../control-plane/dns/wire.ts';
import { question } from '../../../support/dns.ts';

test('a question is read in lower case, with what EDNS says', (t) => {
  const query = parseQuery(question('WeB.Default.svc.cluster.LOCAL', 'AAAA', { id: 7, udpBytes: 1400 }));
  t.like(query, {
    id: 7,
    name: 'web.default.svc.cluster.local',
    type: 28,
    class: 1,
    flags: 0x100,
    edns: { udpBytes: 1400, version: 0, dnssecOk: false },
  });
});

test('the root, and bytes that names seldom have', (t) => {
  t.like(parseQuery(question('.', 'NS')), { name: '' });
  const odd = Buffer.from([3, 0x61, 0x2e, 0x62, 2, 0x00, 0xff, 0]);
  t.deepEqual(readQuestionName(odd, 0), { name: 'a\\046b.\\000\\255', end: 8 });
});

const broken: [string, (message: Buffer) => Buffer, object][] = [
  ['shorter than a header', (m) => m.subarray(0, 11), { problem: 'short', reply: 'drop' }],
  ['an answer', (m) => set(m, 2, 0x81), { problem: 'response', reply: 'drop' }],
  ['another opcode', (m) => set(m, 2, 0x28), { problem: 'opcode', reply: 'NOTIMP' }],
  ['no question', (m) => set(m, 5, 0), { problem: 'question', reply: 'FORMERR' }],
  ['two questions', (m) => set(m, 5, 2), { problem: 'question', reply: 'FORMERR' }],
  ['answers in a query', (m) => set(m, 7, 1), { problem: 'question', reply: 'FORMERR' }],
  ['an update (authority)', (m) => set(m, 9, 1), { problem: 'question', reply: 'FORMERR' }],
  ['hundreds of additional records', (m) => set(m, 10, 1), { problem: 'question', reply: 'FORMERR' }],
  ['a label over the end', (m) => set(m, 12, 63), { problem: 'name', reply: 'FORMERR' }],
  ['a pointer in the question', (m) => set(m, 12, 0xc0), { problem: 'name', reply: 'FORMERR' }],
  ['a label type that is none', (m) => set(m, 12, 0x80), { problem: 'name', reply: 'FORMERR' }],
  ['no type and class', (m) => m.subarray(0, m.length - 3), { problem: 'name', reply: 'FORMERR' }],
  ['an additional record that is not there', (m) => set(m, 11, 1), { problem: 'records', reply: 'FORMERR' }],
];

for (const [what, spoil, expected] of broken) {
  test(`refused: ${what}`, (t) => {
    t.like(parseQuery(spoil(question('web.example', 'A'))), expected);
  });
}

test('refused: a name of more than 255 bytes', (t) => {
  const labels = Buffer.concat([...Array(5)].map(() => Buffer.concat([Buffer.from([63]), Buffer.alloc(63, 0x61)])));
  const message = Buffer.concat([question('.', 'A').subarray(0, 12), labels, Buffer.from([0, 0, 1, 0, 1])]);
  t.like(parseQuery(message), { problem: 'name' });
});

test('refused: two EDNS records, and one with a name', (t) => {
  const one = question('a.b', 'A', { udpBytes: 512 });
  const opt = one.subarray(one.length - 11);
  t.like(parseQuery(set(Buffer.concat([one, opt]), 11, 2)), { problem: 'records' });
  const named = Buffer.concat([one.subarray(0, -11), Buffer.from([1, 0x61]), opt]);
  t.like(parseQuery(named), { problem: 'records' });
});

test('no prefix of a query is taken for one, and none throws', (t) => {
  const whole = question('a.b.c', 'SRV', { udpBytes: 4096 });
  for (let length = 0; length < whole.length; length++)
    t.true('problem' in parseQuery(whole.subarray(0, length)), `${length} bytes`);
  let seed = 1;
  for (let round = 0; round < 20_000; round++) {
    const noise = Buffer.from(whole);
    for (let flips = 0; flips < 3; flips++) {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      noise[seed % noise.length] = seed >> 16;
    }
    t.notThrows(() => parseQuery(noise));
  }
});

function set(message: Buffer, at: number, value: number): Buffer {
  message[at] = value;
  return message;
}
