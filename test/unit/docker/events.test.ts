import test from 'ava';
import { createEventStream } from '../../../src/docker/events.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../fakes/clock.ts';

test('an Engine that accepts and drops stream after stream is asked less and less often', async (t) => {
  const clock = createFakeClock();
  let opened = 0;
  const stop = new AbortController();
  const stream = createEventStream({
    docker: {
      // biome-ignore lint/correctness/useYield: it ends before its first event
      async *containerEvents({ onOpen }) {
        onOpen?.();
      },
    },
    clock,
    log: silentLogger,
    onEvent() {},
    onOpen: () => opened++,
  });
  const running = stream.run(stop.signal);
  await clock.advance(60_000);
  t.true(opened > 8 && opened < 25, `${opened} in a minute`);
  stop.abort();
  await running;
});

test('a deaf stream is left for a new one, which goes on after the last event', async (t) => {
  const clock = createFakeClock();
  const asked: (bigint | undefined)[] = [];
  const stop = new AbortController();
  const seen: string[] = [];
  const stream = createEventStream({
    docker: {
      async *containerEvents({ sinceNano, onOpen }, signal) {
        asked.push(sinceNano);
        onOpen?.();
        yield { action: 'start', id: 'a', attributes: {}, timeNano: 5_000n };
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    },
    clock,
    log: silentLogger,
    onEvent: ({ action }) => seen.push(action),
    onOpen() {},
  });
  const running = stream.run(stop.signal);
  await settle();
  stream.reopen();
  stream.reopen();
  await clock.advance(4_000);
  t.is(asked.length, 1, 'a young stream gets its time');
  await clock.advance(1_200);
  t.deepEqual(asked, [undefined, 4_000n]);
  t.is(seen.length, 2);
  stop.abort();
  await running;
});
