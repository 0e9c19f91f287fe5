/** When garbage is collected, and who hears of failures. */
import test from 'ava';
import { createGarbageCollector } from '../../../../agent/gc/collector.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

function setUp() {
  const clock = createFakeClock();
  const events: string[] = [];
  const done: string[] = [];
  const fails = { images: false, containers: false };
  let atWork = 0;
  const work = async (what: string, fails: boolean) => {
    if (++atWork > 1) throw new Error('two at once');
    await Promise.resolve();
    atWork--;
    done.push(what);
    if (fails) throw new Error(`no ${what}`);
  };
  const collector = createGarbageCollector({
    images: {
      look: () => work('look', false),
      collect: () => work('images', fails.images),
      removeUnused: () => work('unused images', fails.images),
      touch() {},
    },
    containers: { collect: (_, all) => work(all ? 'all containers' : 'containers', fails.containers) },
    nodeEvent: (type, reason, message) => events.push(`${type} ${reason} ${message}`),
    clock,
    log: silentLogger,
  });
  return { clock, events, done, fails, collector };
}

for (const jumpMs of [0, 3 * 3600_000, -3 * 3600_000])
  test(`R13: containers every minute, images every five and looked at every minute, also when the clock steps ${jumpMs / 3600_000} h`, async (t) => {
    const { clock, done, collector } = setUp();
    const stop = new AbortController();
    const running = collector.run(stop.signal);
    await clock.advance(1_000);
    clock.step(jumpMs);
    await clock.advance(299_000);
    const count = (what: string) => done.filter((one) => one === what).length;
    t.deepEqual([count('containers'), count('look'), count('images')], [6, 6, 2]);
    stop.abort();
    await running;
    t.is(clock.pending(), 0);
  });

test('every failure with containers is told; one with images from the second in a row on', async (t) => {
  const { clock, events, fails, collector } = setUp();
  const stop = new AbortController();
  Object.assign(fails, { images: true, containers: true });
  const running = collector.run(stop.signal);
  await clock.advance(1_000);
  t.deepEqual(events.splice(0), ['Warning ContainerGCFailed no containers']);
  fails.containers = false;
  await clock.advance(300_000);
  t.deepEqual(events.splice(0), ['Warning ImageGCFailed no images']);
  fails.images = false;
  await clock.advance(300_000);
  fails.images = true;
  await clock.advance(300_000);
  t.deepEqual(events.splice(0), [], 'one failure after a success is the first again');
  stop.abort();
  await running;
});

test('whoever is short of room waits for a round under way, and gets what there is', async (t) => {
  const { done, fails, collector } = setUp();
  const { signal } = new AbortController();
  fails.containers = true;
  await Promise.all([
    collector.collectContainers(signal),
    collector.reclaim.deleteDeadContainers(signal),
    collector.reclaim.deleteUnusedImages(signal),
  ]);
  t.deepEqual(done, ['containers', 'all containers', 'unused images']);
});
