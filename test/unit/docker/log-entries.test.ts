/** Entries of the json-file driver as bytes: what comes out is what JSON.parse would give, for any text, cut anywhere. */
import test from 'ava';
import type { LogChunk } from '../../../src/docker/engine.ts';
import { createEntryReader } from '../../../src/docker/log-files/entries.ts';

const TIME = '2026-01-02T03:04:05.123456789Z';
const entry = (log: string, stream = 'stdout', time = TIME) => `${JSON.stringify({ log, stream, time })}\n`;
const text = (chunks: LogChunk[]) => Buffer.concat(chunks.map(({ data }) => data)).toString();
const readAll = (lines: string, options: Parameters<typeof createEntryReader>[0] = {}) =>
  text(createEntryReader(options).push(Buffer.from(lines)));

for (const [what, line, want] of [
  ['escapes', String.raw`{"log":"a\tb\"c\\d\/e\b\f\r\n","stream":"stdout","time":"T"}`, 'a\tb"c\\d/e\b\f\r\n'],
  [
    'what Go escapes for HTML',
    String.raw`{"log":"\u003cb\u003e \u0026\u2028\n","stream":"stdout","time":"T"}`,
    '<b> &\u2028\n',
  ],
  [
    'control characters',
    String.raw`{"log":"\u0000\u001b[1m\u007f\u0080\n","stream":"stdout","time":"T"}`,
    '\u0000\u001b[1m\u007f\u0080\n',
  ],
  ['surrogate pairs', String.raw`{"log":"\ud83d\ude00 😀\n","stream":"stdout","time":"T"}`, '😀 😀\n'],
  [
    'half of a pair',
    String.raw`{"log":"\ud83dx\udc00\ud83d\u0041\n","stream":"stdout","time":"T"}`,
    '\ufffdx\ufffd\ufffdA\n',
  ],
  ['an empty text', '{"log":"","stream":"stdout","time":"T"}', ''],
  ['labels', '{"log":"x\\n","stream":"stderr","attrs":{"a":"\\"stream\\":\\"stdout\\""},"time":"T"}', 'x\n'],
  ['fields in another order', '{"stream":"stdout","time":"T","log":"x\\n"}', 'x\n'],
  ['spaces', '{ "log": "x\\n", "stream": "stdout", "time": "T" }', 'x\n'],
  [
    'text that looks like an end',
    String.raw`{"log":"\",\"stream\":\"stderr\",\"time\":\"T\"}\n","stream":"stdout","time":"T"}`,
    '","stream":"stderr","time":"T"}\n',
  ],
  ['nonsense', 'nonsense', ''],
  ['another JSON', '[1]', ''],
  ['no text', '{"log":5,"stream":"stdout","time":"T"}', ''],
  ['an escape that is none', String.raw`{"log":"\x\n","stream":"stdout","time":"T"}`, ''],
  ['half an entry before a whole one', '{"log":"half{"log":"whole\\n","stream":"stdout","time":"T"}', 'whole\n'],
] as const)
  test(`entry: ${what}`, (t) => {
    t.is(readAll(`${line}\n`), want);
    t.is(readAll(`${entry('before\n')}${line}\n${entry('after\n')}`), `before\n${want}after\n`);
  });

test("streams: told apart, runs of one are one chunk, and a pod's text cannot make itself another's", (t) => {
  const forged = '","stream":"stderr","time":"2000-01-01T00:00:00Z"}\n{"log":"forged\n';
  const lines = entry('a\n') + entry('b\n') + entry('e\n', 'stderr') + entry(forged) + entry('c\n');
  const chunks = createEntryReader({}).push(Buffer.from(lines));
  t.deepEqual(
    chunks.map(({ stream, data }) => [stream, data.toString()]),
    [
      ['stdout', 'a\nb\n'],
      ['stderr', 'e\n'],
      ['stdout', `${forged}c\n`],
    ],
  );
  t.is(readAll(lines, { stdout: false }), 'e\n');
  t.is(readAll(lines, { stderr: false }), `a\nb\n${forged}c\n`);
});

test('times: before the start of each line of a stream, with nine digits', (t) => {
  const lines =
    entry('long ', 'stdout', '2026-01-02T03:04:05.1Z') +
    entry('e\n', 'stderr', '2026-01-02T03:04:05Z') +
    entry('line\n') +
    entry('next\n', 'stdout', '2026-01-02T03:04:05.123+02:00');
  t.is(
    readAll(lines, { timestamps: true }),
    '2026-01-02T03:04:05.100000000Z long 2026-01-02T03:04:05.000000000Z e\nline\n2026-01-02T03:04:05.123+02:00 next\n',
  );
  t.is(readAll(lines, { sinceMs: Date.parse('2026-01-02T03:04:05.120Z') }), 'line\n');
});

test('any text, cut anywhere, comes out whole', (t) => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed % below;
  };
  const alphabet = ['a', '\n', '"', '\\', '\t', '\u0000', 'é', '€', '😀', '<', '{"log":"', '\u2028', 'u003c', ' '];
  let lines = '';
  let want = '';
  for (let at = 0; at < 2000; at++) {
    const log = Array.from({ length: random(30) }, () => alphabet[random(alphabet.length)]).join('');
    lines += entry(log);
    want += log;
  }
  const bytes = Buffer.from(lines);
  const reader = createEntryReader({});
  const got: LogChunk[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + random(400);
    got.push(...reader.push(bytes.subarray(at, at + length)));
    at += length;
  }
  t.is(text(got), want);
});
