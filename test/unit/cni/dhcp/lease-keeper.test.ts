import test, { type ExecutionContext } from 'ava';
import type { Client, DhcpClient, Grant } from '../../../../cni/ipam/dhcp/client.ts';
import { keepLease, type LeaseEnd } from '../../../../cni/ipam/dhcp/lease-keeper.ts';
import type { DhcpMessage } from '../../../../cni/ipam/dhcp/message.ts';
import { createLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

/** 1000 s: renewed from 500 s on, by anybody from 875 s on. */
const LEASE = new Map([[51, Uint8Array.from([0, 0, 3, 232])]]);

/** A keeper whose servers are what the test says. */
function setUp(t: ExecutionContext, answers: Partial<DhcpClient> = {}, ageMs = 0) {
  const clock = createFakeClock();
  const asked: string[] = [];
  const grant = (address = '10.5.0.9'): Grant => ({
    ack: { yourAddress: address, options: LEASE } as unknown as DhcpMessage,
    address,
    server: '10.5.0.1',
    sinceMs: clock.monotonicMs(),
  });
  const say = (what: string) => asked.push(`${Math.round(clock.monotonicMs() / 1000)} ${what}`);
  const client: DhcpClient = {
    async renew(one, of, to, timeoutMs, signal) {
      say(`renew ${to}`);
      const answer = await answers.renew?.(one, of, to, timeoutMs, signal);
      if (answer === undefined) await clock.sleep(timeoutMs, signal);
      return answer;
    },
    async acquire(one, wanted, signal) {
      say(`acquire ${wanted}`);
      const answer = await answers.acquire?.(one, wanted, signal);
      if (!answer) await clock.sleep(1e9, signal);
      return answer!;
    },
    release: (_, { address }) => void say(`release ${address}`),
  };
  const world = { found: true };
  const renewed: number[] = [];
  let end: LeaseEnd | 'stopped' | undefined;
  const stop = new AbortController();
  keepLease(
    { ...grant(), sinceMs: -ageMs },
    {
      client,
      clock,
      log: createLogger({ level: 'silent' }),
      find: async () => (world.found ? ({} as Client) : undefined),
      onRenewed: () => void renewed.push(Math.round(clock.monotonicMs() / 1000)),
      timeoutMs: 10_000,
    },
    stop.signal,
  ).then(
    (value) => {
      end = value;
    },
    () => {
      end = 'stopped';
    },
  );
  t.teardown(() => stop.abort());
  return { clock, asked, grant, renewed, world, stop, end: () => end };
}

const until = async (clock: ReturnType<typeof createFakeClock>, seconds: number) => {
  for (let n = 0; n < seconds * 4; n++) await clock.advance(250);
};

test('a lease is renewed when half of it is over, again and again', async (t) => {
  const world = setUp(t, { renew: async () => world.grant() });
  await until(world.clock, 1600);
  t.deepEqual(world.asked, ['500 renew server', '1000 renew server', '1500 renew server']);
  t.deepEqual(world.renewed, [500, 1000, 1500]);
});

test('its own server is silent: asked more often, then everybody, then for a new lease of the same address; then it is lost', async (t) => {
  const { clock, asked, end } = setUp(t);
  await until(clock, 999);
  t.is(end(), undefined, 'not before its time');
  await until(clock, 3);
  t.is(end(), 'lost');
  const whom = asked.map((one) => one.replace(/^\d+ /, ''));
  t.is(whom.lastIndexOf('renew server') < whom.indexOf('renew everybody'), true);
  t.deepEqual([...new Set(whom)], ['renew server', 'renew everybody', 'acquire 10.5.0.9']);
  const begun = asked.findIndex((one) => one.endsWith('renew everybody'));
  t.is(Math.abs(Number.parseInt(asked[begun]!, 10) - 875) <= 11, true, asked[begun]);
  t.true(asked.length < 40, 'a server that is away is not stormed');
});

test('a server that comes back in time renews it', async (t) => {
  const world = setUp(t, { renew: async (_, __, to) => (to === 'everybody' ? world.grant() : undefined) });
  await until(world.clock, 1000);
  t.is(world.end(), undefined);
  t.is(world.renewed.length, 1);
  t.true(world.renewed[0]! >= 875);
});

test('a refusal: the same address by a new lease is as good', async (t) => {
  const world = setUp(t, { renew: async () => 'refused', acquire: async () => world.grant() });
  await until(world.clock, 600);
  t.deepEqual(world.asked, ['500 renew server', '500 acquire 10.5.0.9']);
  t.deepEqual([world.end(), world.renewed], [undefined, [500]]);
});

test('a refusal, and another address is offered: it is given back, and the lease is lost at once', async (t) => {
  const world = setUp(t, { renew: async () => 'refused', acquire: async () => world.grant('10.5.0.77') });
  await until(world.clock, 501);
  t.deepEqual(world.asked, ['500 renew server', '500 acquire 10.5.0.9', '500 release 10.5.0.77']);
  t.is(world.end(), 'lost');
});

test('a refusal, and nobody gives anything: lost when the patience is over', async (t) => {
  const world = setUp(t, { renew: async () => 'refused' });
  await until(world.clock, 505);
  t.is(world.end(), undefined);
  await until(world.clock, 10);
  t.is(world.end(), 'lost');
});

test('another server’s address while nobody renews: the lease counts to its end all the same', async (t) => {
  const world = setUp(t, { acquire: async () => world.grant('10.5.0.77') });
  await until(world.clock, 990);
  t.is(world.end(), undefined);
  await until(world.clock, 12);
  t.is(world.end(), 'lost');
});

test('errors of the moment (no descriptors, the link is down) are tried again', async (t) => {
  let failures = 2;
  const world = setUp(t, {
    renew: async () => {
      if (failures-- > 0) throw new Error('ENETDOWN');
      return world.grant();
    },
  });
  await until(world.clock, 870);
  t.is(world.end(), undefined);
  t.is(world.renewed.length, 1);
});

test('the link is gone; who keeps it is stopped', async (t) => {
  const gone = setUp(t);
  gone.world.found = false;
  await until(gone.clock, 501);
  t.is(gone.end(), 'gone');
  t.deepEqual(gone.asked, []);
  const stopped = setUp(t);
  await until(stopped.clock, 100);
  stopped.stop.abort();
  await until(stopped.clock, 1);
  t.is(stopped.end(), 'stopped');
  t.deepEqual(stopped.asked, []);
});

test('restored late: in time to be rebound; or over by our reckoning, and asked for once all the same', async (t) => {
  const late = setUp(t, { renew: async () => late.grant() }, 900_000);
  await until(late.clock, 1);
  t.deepEqual(late.asked, ['0 renew everybody']);
  t.deepEqual([late.end(), late.renewed], [undefined, [0]]);
  const over = setUp(t, { renew: async () => over.grant() }, 5_000_000);
  await until(over.clock, 1);
  t.deepEqual([over.asked, over.end()], [['0 renew everybody'], undefined]);
  const silent = setUp(t, {}, 5_000_000);
  await until(silent.clock, 5);
  t.is(silent.end(), 'lost');
});
