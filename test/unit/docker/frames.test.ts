import test from 'ava';
import type { ContainerEvent } from '../../../src/docker/engine.ts';
import { createEventStream } from '../../../src/docker/events.ts';
import { demultiplex, jsonLines } from '../../../src/docker/frames.ts';
import { parseDetail, parseEvent, type WireDetail } from '../../../src/docker/wire.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeDocker } from '../../fakes/docker.ts';
import { eventually } from '../../support/eventually.ts';

async function* reads(...buffers: Buffer[]): AsyncGenerator<Buffer> {
  yield* buffers;
}

function frame(stream: 1 | 2, text: string): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

async function demultiplexed(...buffers: Buffer[]): Promise<Record<'stdout' | 'stderr', string>> {
  const texts = { stdout: '', stderr: '' };
  for await (const { stream, data } of demultiplex(reads(...buffers))) texts[stream] += data;
  return texts;
}

const WHOLE = Buffer.concat([frame(1, 'out one\n'), frame(2, 'err\n'), frame(1, ''), frame(1, 'out two\n')]);

test('frames in one read', async (t) => {
  t.deepEqual(await demultiplexed(WHOLE), { stdout: 'out one\nout two\n', stderr: 'err\n' });
});

test('frames cut at every place', async (t) => {
  for (let cut = 1; cut < WHOLE.length; cut++)
    t.deepEqual(await demultiplexed(WHOLE.subarray(0, cut), WHOLE.subarray(cut)), {
      stdout: 'out one\nout two\n',
      stderr: 'err\n',
    });
});

test('JSON lines cut inside a line and inside a character', async (t) => {
  const text = Buffer.from('{"a":"ä"}\n\n{"b":2}\n{"c":3}');
  for (let cut = 1; cut < text.length; cut++) {
    const items: unknown[] = [];
    for await (const item of jsonLines(reads(text.subarray(0, cut), text.subarray(cut)))) items.push(item);
    t.deepEqual(items, [{ a: 'ä' }, { b: 2 }, { c: 3 }]);
  }
});

function detail(state: Partial<WireDetail['State']>): ReturnType<typeof parseDetail> {
  return parseDetail({
    Id: 'id',
    Name: '/n',
    Image: 'sha256:1',
    Created: '2026-01-01T00:00:00.5Z',
    Config: { Image: 'i', Labels: null },
    HostConfig: { NetworkMode: 'none' },
    State: {
      Status: 'created',
      Running: false,
      OOMKilled: false,
      Pid: 0,
      ExitCode: 0,
      Error: '',
      StartedAt: '0001-01-01T00:00:00Z',
      FinishedAt: '0001-01-01T00:00:00Z',
      ...state,
    },
  });
}

test('a failed start has had its run', (t) => {
  t.like(detail({ ExitCode: 127, Error: 'no such file' }), {
    state: 'exited',
    exitCode: 127,
    finishedAtMs: Date.UTC(2026, 0, 1) + 500,
  });
  t.like(detail({}), { state: 'created', exitCode: undefined, startedAtMs: undefined, finishedAtMs: undefined });
  t.like(detail({ Status: 'running', Running: true, Pid: 7 }), { state: 'running', pid: 7, exitCode: undefined });
  t.like(detail({ Status: 'dead' }), { state: 'exited' });
});

test('an exec event loses its command', (t) => {
  const event = parseEvent({
    Type: 'container',
    Action: 'exec_create: sh -c a:b',
    Actor: { ID: 'x', Attributes: null },
    timeNano: 5,
  });
  t.like(event, { action: 'exec_create', id: 'x', attributes: {}, timeNano: 5n });
});

test('the event stream comes back after a break and misses nothing', async (t) => {
  const docker = createFakeDocker();
  docker.addImage('i:1');
  const events: ContainerEvent[] = [];
  let opened = 0;
  let closed = 0;
  const stop = new AbortController();
  const following = createEventStream({
    docker,
    clock: systemClock,
    log: silentLogger,
    onEvent: (event) => events.push(event),
    onOpen: () => opened++,
    onClosed: () => closed++,
  }).run(stop.signal);
  await eventually('it is open', () => opened === 1);
  await docker.createContainer('one', { Image: 'i:1' });
  await eventually('the first container', () => events.length > 0);
  docker.dropConnections();
  await eventually('it is told', () => closed === 1);
  await docker.createContainer('two', { Image: 'i:1' });
  await eventually('it is open again', () => opened === 2);
  await eventually('the second container', () => events.some(({ attributes }) => attributes.name === 'two'));
  t.deepEqual([...new Set(events.map(({ attributes }) => attributes.name))], ['one', 'two']);
  stop.abort();
  await following;
});
