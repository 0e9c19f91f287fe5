import type { ExecutionContext } from 'ava';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';
import type { NetPeer } from './net-peer.ts';
import { type Ask, type Asker, BEHAVIOURS, type Subject } from './proxy-behaviours.ts';
import type { World } from './proxy-world.ts';

/** What a subject reads Services from. */
export interface BehaviourFeed {
  put(services: readonly Service[], slices: readonly EndpointSlice[]): Promise<void> | void;
  remove(services: readonly Service[]): Promise<void> | void;
  /** Resolves once everything put before stands in the kernel. */
  synced(): Promise<void>;
}

const TRIES = 24;
/** How long silence must last to be one; an answer may take longer on a busy machine. */
const SILENCE_MS = 600;
const ANSWER_MS = 3000;
const WITHIN_MS = 15_000;

/** All of the table's services stand at once: their traffic must not mix. Then all changes come at once. */
export async function runBehaviours(t: ExecutionContext, subject: Subject, world: World, feed: BehaviourFeed) {
  await feed.put(
    BEHAVIOURS.flatMap(({ services }) => services),
    BEHAVIOURS.flatMap(({ slices }) => slices),
  );
  await feed.synced();
  await askAll(
    t,
    subject,
    world,
    BEHAVIOURS.map(({ what, asks }) => ({ what, asks })),
  );
  const changes = BEHAVIOURS.flatMap(({ what, later }) => (later ? [{ what: `${what}, later`, ...later }] : []));
  for (const { put = [], slices = [], remove = [] } of changes) {
    await feed.put(put, slices);
    await feed.remove(remove);
  }
  await feed.synced();
  await askAll(t, subject, world, changes);
}

async function askAll(
  t: ExecutionContext,
  subject: Subject,
  world: World,
  cases: readonly { what: string; asks: readonly Ask[] }[],
): Promise<void> {
  const peers: Record<Asker, NetPeer> = {
    client: world.client,
    host: world.host,
    pod1: world.pods[0],
    pod2: world.pods[1],
  };
  // One case after the other, each with its questions at once: a flood would run into the kernel's ration of ICMP answers.
  for (const { what, asks } of cases)
    await Promise.all(
      asks.map(async (ask) => {
        const expected = expectationOf(subject, ask);
        const deadlineMs = performance.now() + WITHIN_MS;
        let answers = await tryMany(peers[ask.from], ask, expected);
        while (answers.join() !== expected.join() && performance.now() < deadlineMs)
          answers = await tryMany(peers[ask.from], ask, expected);
        t.deepEqual(
          answers,
          expected,
          `${subject}: ${what}: ${ask.from} to ${ask.host}:${ask.port}/${ask.protocol ?? 'tcp'}`,
        );
      }),
    );
}

function expectationOf(subject: Subject, { expect, except }: Ask): string[] {
  const expected = except?.[subject]?.expect ?? expect;
  // The relay is the client that endpoints see, always.
  const seen = subject === 'userspace' ? expected.map((one) => one.replace(/sees \w+/, 'sees node')) : expected;
  return [...new Set(seen)].sort();
}

/** Different answers, sorted. What is to be refused or to hang is asked once. */
async function tryMany(peer: NetPeer, { host, port, protocol = 'tcp' }: Ask, expected: readonly string[]) {
  const tries = expected.some((one) => one.includes('pod') || one.includes('both')) ? TRIES : 1;
  const timeoutMs = expected.includes('TIMEOUT') ? SILENCE_MS : ANSWER_MS;
  const answers = await Promise.all(Array.from({ length: tries }, () => peer.ask({ protocol, host, port, timeoutMs })));
  const different = [...new Set(answers.map(readAnswer))].sort();
  const [only] = different;
  if (expected[0]?.startsWith('one of both') && different.length === 1 && only?.startsWith('pod'))
    return [`one of both, from ${only.split(' ').at(-1)}`];
  return different;
}

const WHO: Record<string, string> = {
  '192.168.50.9': 'client',
  '10.244.0.11': 'pod1',
  '10.244.0.12': 'pod2',
  '10.244.0.1': 'node',
  '192.168.50.1': 'node',
};

function readAnswer(answer: string): string {
  const [name = '', source] = answer.split(' ');
  return source === undefined ? answer : `${name} sees ${WHO[source] ?? source}`;
}
