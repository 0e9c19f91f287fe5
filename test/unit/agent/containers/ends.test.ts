import test from 'ava';
import { createContainerEnds } from '../../../../agent/containers/ends.ts';
import type { ContainerKiller } from '../../../../agent/containers/kill.ts';
import type { ContainerRuntimeStatus } from '../../../../agent/pods/ports.ts';
import { DockerError, type DockerErrorKind } from '../../../../src/docker/errors.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import type { ProcessInfo } from '../../../../src/linux/processes.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';

const POD = { metadata: { name: 'p', namespace: 'ns', uid: 'u' }, spec: { containers: [{ name: 'app' }] } } as Pod;
const TARGET = { id: 'c1', name: 'app' };
const signal = new AbortController().signal;
const failed = (kind: DockerErrorKind) => new DockerError('stop container c1', kind, `it went wrong (${kind})`);

/** One container, an Engine that stops it as told, and a kernel with processes of its own. */
function world(options: {
  stop?: DockerErrorKind;
  inspect?: DockerErrorKind;
  remove?: DockerErrorKind;
  processes?: ProcessInfo[];
  immortal?: boolean;
}) {
  const clock = createFakeClock();
  const processes = [...(options.processes ?? [])];
  const killed: number[] = [];
  const events: string[] = [];
  const container = { ...TARGET, state: 'running' } as ContainerRuntimeStatus;
  let removed = 0;
  const kill = async () => {
    if (options.stop) throw new AggregateError([failed(options.stop)], 'stopping');
  };
  const ends = createContainerEnds({
    docker: {
      async removeContainer() {
        if (options.remove) throw failed(options.remove);
      },
    },
    runtime: {
      pod: () => ({ uid: 'u', name: 'p', namespace: 'ns', ips: [], sandboxes: [], containers: [container] }),
      async refresh() {
        if (options.inspect) throw failed(options.inspect);
      },
      recordEnded(_, message) {
        Object.assign(container, { state: 'exited', message });
      },
      recordRemoved: () => removed++,
    },
    killer: { kill, killAll: kill } as ContainerKiller,
    findProcesses: async () => [...processes],
    killProcess(pid) {
      killed.push(pid);
      if (!options.immortal) processes.splice(0);
    },
    events: { event: (_, __, reason, message) => events.push(`${reason}: ${message}`) },
    clock,
    log: silentLogger,
  });
  /** Lets the attempt run to its end while the clock goes on. */
  async function end(graceSeconds = 0) {
    const outcome = ends.endAll(POD, [TARGET], graceSeconds, undefined, signal).then(
      () => undefined,
      (error: Error) => error,
    );
    await settle();
    await clock.advance(10_000);
    return outcome;
  }
  return { ends, end, clock, container, killed, events, removals: () => removed };
}

const SLEEPER: ProcessInfo = { pid: 77, command: 'sleep', state: 'S', waitsIn: '' };
const STUCK: ProcessInfo = { pid: 78, command: 'dd', state: 'D', waitsIn: 'rpc_wait_bit_killable' };

test('R1: the Engine says that it runs, the kernel has no process of it: it has ended, and the event says who disagrees', async (t) => {
  const { end, container, events } = world({ stop: 'server' });
  t.is(await end(), undefined);
  t.is(container.state, 'exited');
  t.deepEqual(events, [
    'ContainerStatusUnknown: the kernel has no process of container app any more, though the Docker Engine does not say that it ended (it went wrong (server))',
  ]);
});

test('R1: neither stop nor inspection is answered: its process is killed by the kernel’s word, after the grace', async (t) => {
  const { end, container, killed } = world({ stop: 'timeout', inspect: 'timeout', processes: [SLEEPER] });
  t.is(await end(), undefined);
  t.deepEqual(killed, [77]);
  t.is(container.state, 'exited');
});

test('R1: an Engine that refuses at once takes no grace away', async (t) => {
  const { end, clock, container, killed } = world({ stop: 'server', processes: [SLEEPER] });
  t.regex((await end(30))!.message, /process 77 \(sleep\) of container app still runs; .*it went wrong/);
  t.deepEqual(killed, []);
  await clock.advance(30_000);
  t.is(await end(30), undefined);
  t.deepEqual(killed, [77]);
  t.is(container.state, 'exited');
});

test('R1: a process that waits in the kernel is named, and the pod is not called ended', async (t) => {
  const { end, container, events } = world({ stop: 'timeout', processes: [STUCK], immortal: true });
  const error = await end();
  t.regex(
    error!.message,
    /process 78 \(dd\), which waits in the kernel \(rpc_wait_bit_killable\) of container app survives SIGKILL/,
  );
  t.is(container.state, 'running');
  t.regex(events[0]!, /^FailedKillPod: error killing pod: process 78/);
});

test('an Engine that is not there is waited for, whatever the kernel says', async (t) => {
  for (const processes of [[], [SLEEPER]]) {
    const { end, container, killed } = world({ stop: 'unreachable', inspect: 'unreachable', processes });
    t.regex((await end())!.message, /stopping/);
    t.deepEqual(killed, []);
    t.is(container.state, 'running');
  }
});

test('what has ended and cannot be removed holds nobody up; what lives, and what nobody can be asked about, does', async (t) => {
  for (const kind of ['server', 'timeout'] as const) {
    const { ends, container, removals } = world({ remove: kind });
    await ends.remove(TARGET.id);
    t.is(container.state, 'exited');
    t.is(removals(), 0);
  }
  const alive = world({ remove: 'server', processes: [SLEEPER], immortal: true });
  const removal = t.throwsAsync(alive.ends.remove(TARGET.id));
  await settle();
  await alive.clock.advance(10_000);
  await removal;
  await t.throwsAsync(() => world({ remove: 'unreachable' }).ends.remove(TARGET.id));
  const { ends, removals } = world({ remove: 'notFound' });
  await ends.remove(TARGET.id);
  t.is(removals(), 1);
});
