import { createHash } from 'node:crypto';
import { duplexPair } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { constants, createDeflate } from 'node:zlib';
import test from 'ava';
import { createSpdyConnection, type SpdyConnectionOptions } from '../../../src/streaming/spdy/connection.ts';
import { SPDY_DICTIONARY } from '../../../src/streaming/spdy/dictionary.ts';
import { createFrameReader, dataHead, FRAME, type Frame, ping, synStream } from '../../../src/streaming/spdy/frames.ts';
import { createHeaderReader, createHeaderWriter, SpdyProtocolError } from '../../../src/streaming/spdy/headers.ts';
import type { SpdyStream } from '../../../src/streaming/spdy/stream.ts';

test('the dictionary is the one of the protocol, byte by byte', (t) => {
  t.is(SPDY_DICTIONARY.length, 1423);
  t.is(
    createHash('sha256').update(SPDY_DICTIONARY).digest('hex'),
    '51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02',
  );
});

/** As Go's library compresses: one compressor for the connection, a sync flush after each block. */
function goLikeCompressor() {
  const deflate = createDeflate({ dictionary: SPDY_DICTIONARY });
  return async (headers: Record<string, string>) => {
    const count = (value: number) => Buffer.from([0, 0, value >> 8, value & 255]);
    const text = (value: string) => [count(value.length), Buffer.from(value)];
    const entries = Object.entries(headers);
    deflate.write(Buffer.concat([count(entries.length), ...entries.flat().flatMap(text)]));
    return new Promise<Buffer>((resolve) =>
      deflate.flush(constants.Z_SYNC_FLUSH, () => resolve(deflate.read() as Buffer)),
    );
  };
}

test('headers: blocks of a real compressor, each on the state of the ones before', async (t) => {
  const compress = goLikeCompressor();
  const reader = createHeaderReader();
  t.teardown(() => reader.close());
  for (const streamType of ['error', 'stdin', 'stdout', 'resize'])
    t.deepEqual({ ...(await reader.read(await compress({ Streamtype: streamType }))) }, { streamtype: streamType });
});

test('headers: what we write is read again, empty blocks too', async (t) => {
  const write = createHeaderWriter();
  const reader = createHeaderReader();
  t.teardown(() => reader.close());
  const some: Record<string, string>[] = [
    { streamtype: 'data', port: '8080', requestid: '0' },
    {},
    { a: 'ü'.repeat(3000) },
  ];
  for (const headers of some) t.deepEqual({ ...(await reader.read(write(headers))) }, headers);
  t.throws(() => write({ a: 'x'.repeat(70_000) }), { instanceOf: SpdyProtocolError });
});

for (const [what, make] of [
  ['nonsense', async () => Buffer.from('nonsense')],
  ['a bomb', async () => goLikeCompressor()({ a: 'x'.repeat(65_000), b: 'y'.repeat(65_000) })],
  ['a block that ends too early', async () => (await goLikeCompressor()({ a: 'b' })).subarray(0, 8)],
] as const)
  test(`headers: ${what} is refused, and what follows too`, async (t) => {
    const reader = createHeaderReader();
    t.teardown(() => reader.close());
    await t.throwsAsync(reader.read(await make()), { instanceOf: SpdyProtocolError });
  });

test('frames come out the same however the network cuts them', (t) => {
  const write = createHeaderWriter();
  const bytes = Buffer.concat([
    synStream(1, write({ a: 'b' })),
    dataHead(1, 5, false),
    Buffer.from('hello'),
    ping(7),
    dataHead(1, 3, true),
    Buffer.from('end'),
    dataHead(3, 0, true),
  ]);
  const told = (frames: Frame[]) => {
    const lines: string[] = [];
    for (const frame of frames)
      if (frame.kind === 'control') lines.push(`control ${frame.type} ${frame.payload.toString('hex')}`);
      else if (lines.at(-1)?.startsWith(`data ${frame.streamId} `) && !lines.at(-1)?.endsWith('.'))
        lines.push(`${lines.pop()}${frame.payload}${frame.fin ? '.' : ''}`);
      else lines.push(`data ${frame.streamId} ${frame.payload}${frame.fin ? '.' : ''}`);
    return lines;
  };
  const whole = told(createFrameReader()(bytes));
  t.deepEqual(
    whole.map((line) => line.split(' ').slice(0, 2).join(' ')),
    [`control ${FRAME.synStream}`, 'data 1', `control ${FRAME.ping}`, 'data 1', 'data 3'],
  );
  for (let size = 1; size <= 30; size++) {
    const reader = createFrameReader();
    const frames: Frame[] = [];
    for (let at = 0; at < bytes.length; at += size) frames.push(...reader(bytes.subarray(at, at + size)));
    t.deepEqual(told(frames), whole, `pieces of ${size}`);
  }
});

test('frames of another version, and control frames without end, are refused', (t) => {
  t.throws(() => createFrameReader()(Buffer.from('80020001000000000000', 'hex')), { message: /version 2/ });
  t.throws(() => createFrameReader()(Buffer.from('800300010ffffffff000', 'hex')), { message: /bytes/ });
});

function pair(options: Partial<SpdyConnectionOptions> = {}) {
  const [a, b] = duplexPair();
  const streams: SpdyStream[] = [];
  const arrived: ((stream: SpdyStream) => void)[] = [];
  const server = createSpdyConnection(a, {
    role: 'server',
    onStream(stream) {
      streams.push(stream);
      arrived.shift()?.(stream);
    },
    ...options,
  });
  const client = createSpdyConnection(b, { role: 'client' });
  const next = () => new Promise<SpdyStream>((resolve) => arrived.push(resolve));
  return { a, b, server, client, streams, next };
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

test('streams carry both ways, and half of one can close before the other', async (t) => {
  const { client, next } = pair();
  const coming = next();
  const ours = client.open({ streamType: 'stdin' });
  const theirs = await coming;
  t.is(theirs.headers['streamtype'], 'stdin');
  ours.end('question');
  t.is(await textOf(theirs), 'question');
  theirs.end('answer');
  t.is(await textOf(ours), 'answer');
});

test('a slow reader holds the writer back, and loses nothing', async (t) => {
  const { client, next } = pair();
  const coming = next();
  const ours = client.open({});
  const theirs = await coming;
  const chunk = Buffer.alloc(64 * 1024, 'x');
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 64; i++) {
      if (!ours.write(chunk)) await new Promise<void>((resolve) => ours.once('drain', () => resolve()));
      written++;
    }
    ours.end();
  })();
  await sleep(50);
  t.true(written < 40, `${written} of 64 chunks were taken without a reader`);
  let bytes = 0;
  for await (const part of theirs) bytes += (part as Buffer).length;
  await writing;
  t.is(bytes, 64 * 64 * 1024);
});

test('a reader that is gone holds nobody up; its peer is told', async (t) => {
  const { client, next } = pair();
  let coming = next();
  const first = client.open({});
  (await coming).destroy();
  await new Promise<void>((resolve) => first.once('close', () => resolve()));
  coming = next();
  const second = client.open({});
  second.end('still here');
  t.is(await textOf(await coming), 'still here');
});

test('too many streams: the next is refused, the others live', async (t) => {
  const { client, next, streams } = pair({ maxStreams: 1 });
  const coming = next();
  const kept = client.open({});
  const theirs = await coming;
  const refused = client.open({});
  await new Promise<void>((resolve) => refused.once('close', () => resolve()));
  kept.end('fine');
  t.is(await textOf(theirs), 'fine');
  t.is(streams.length, 1);
});

test('the end of the connection ends its streams; no error escapes', async (t) => {
  const { client, server, next, b } = pair();
  const coming = next();
  client.open({});
  const theirs = await coming;
  b.destroy();
  await new Promise<void>((resolve) => theirs.once('close', () => resolve()));
  t.truthy((await Promise.all([client.closed, server.closed])).length);
  await t.throwsAsync(
    new Promise((_, reject) => {
      theirs.write('x', (error) => reject(error));
    }),
  );
});

test('close says good-bye; what was written before arrives', async (t) => {
  const { client, server, next } = pair();
  const coming = next();
  client.open({}).end('last words');
  const theirs = await coming;
  const read = textOf(theirs);
  client.close();
  t.is(await read, 'last words');
  t.is(await server.closed, undefined);
});

test('idle for too long: the connection ends', async (t) => {
  const { server, client } = pair({ idleTimeoutMs: 20 });
  client.open({});
  t.regex((await server.closed)?.message ?? '', /idle/);
});

test('bytes that are no SPDY end the connection with a protocol error', async (t) => {
  const { b, server } = pair();
  b.write(Buffer.from('80020001000000000000', 'hex'));
  t.true((await server.closed) instanceof SpdyProtocolError);
});
