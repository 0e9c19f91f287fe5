import test from 'ava';
import { createAdmissionChain } from '../../../../agent/pods/admission-chain.ts';
import type { AdmitHandler } from '../../../../agent/pods/admission-ports.ts';
import { createAllocations } from '../../../../agent/resources/allocation/allocations.ts';
import { allocationOf } from '../../../../agent/resources/allocation/pod-allocation.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { pod } from './story-pods.ts';

const never = new AbortController().signal;

function recorder(said: string[], name: string, admit: AdmitHandler['admit'] = () => undefined): AdmitHandler {
  return {
    name,
    admit(...given) {
      said.push(`${name} admit`);
      return admit(...given);
    },
    readmit: () => void said.push(`${name} readmit`),
    release: () => void said.push(`${name} release`),
  };
}

test('handlers are asked in the order of their stages, and those before a rejection give back, last first', async (t) => {
  const said: string[] = [];
  const chain = createAdmissionChain(
    {
      predicates: recorder(said, 'predicates', () => ({ reason: 'NodePorts', message: 'taken' })),
      shutdown: recorder(said, 'shutdown'),
      topology: recorder(said, 'topology'),
      eviction: recorder(said, 'eviction', async () => undefined),
    },
    { log: silentLogger },
  );
  t.deepEqual(await chain.admit(pod(), [], never), { reason: 'NodePorts', message: 'taken' });
  t.deepEqual(said, [
    'eviction admit',
    'topology admit',
    'predicates admit',
    'predicates release',
    'topology release',
    'eviction release',
  ]);
});

test('a handler that throws rejects the pod as upstream does; one that cannot give back keeps nobody else from it', async (t) => {
  const said: string[] = [];
  const chain = createAdmissionChain(
    {
      allocation: recorder(said, 'allocation'),
      topology: {
        name: 'topology',
        admit: () => Promise.reject(new Error('not enough cpus')),
        release() {
          throw new Error('checkpoint is read-only');
        },
      },
    },
    { log: silentLogger },
  );
  t.deepEqual(await chain.admit(pod(), [], never), {
    reason: 'UnexpectedAdmissionError',
    message: 'Allocate failed due to not enough cpus, which is unexpected',
  });
  t.deepEqual(said, ['allocation admit', 'allocation release']);
});

test('one pod at a time: of two that want the last place at once, one gets it', async (t) => {
  const counted: number[] = [];
  const agent = await createFakeAgent(t, {
    admission: {
      allocation: {
        name: 'allocation',
        async admit(_pod, others) {
          counted.push(others.length);
          await new Promise((resolve) => setTimeout(resolve, 20));
          return others.length > 0 ? { reason: 'OutOfcpu', message: 'full' } : undefined;
        },
      },
    },
  });
  const [one, two] = [pod({}, { uid: 'uid-1', name: 'one' }), pod({}, { uid: 'uid-2', name: 'two' })];
  agent.workers.update(one);
  agent.workers.update(two);
  await until('one is over', () => agent.finished.length === 1);
  t.deepEqual(counted, [0, 1]);
  await until('the other runs', () => [one, two].some((each) => agent.phase(each) === 'Running'));
});

test('what runs is taken over before a new pod is looked at, and is never refused', async (t) => {
  const said: string[] = [];
  const first = await createFakeAgent(t);
  const running = pod({}, { uid: 'uid-1', name: 'one' });
  first.workers.update(running);
  await until('running', () => first.phase(running) === 'Running');
  const handler: AdmitHandler = {
    name: 'allocation',
    admit(one, others) {
      said.push(`admit ${one.metadata.name} beside ${others.map(({ metadata }) => metadata.name)}`);
      return { reason: 'OutOfcpu', message: 'full' };
    },
    readmit: (one) => void said.push(`readmit ${one.metadata.name}`),
    release: (uid) => void said.push(`release ${uid}`),
  };
  const second = await createFakeAgent(t, { docker: first.docker, admission: { allocation: handler } });
  await second.runtime.relist(never);
  const late = pod({}, { uid: 'uid-2', name: 'two' });
  second.workers.update(late);
  second.workers.update(running);
  await until('the new one is rejected', () => second.finished.includes('uid-2'));
  await until('the running one still runs', () => second.phase(running) === 'Running');
  t.deepEqual(
    said.filter((what) => !what.startsWith('release')),
    ['readmit one', 'admit two beside one'],
  );
  t.false(said.includes('release uid-1'));
});

test('what an earlier life had admitted keeps its place before anything runs; what is over holds none', async (t) => {
  const counted: string[] = [];
  const waiting = {
    ...pod({}, { uid: 'uid-1', name: 'one' }),
    status: { phase: 'Pending' as const, startTime: '2026-01-01T00:00:00Z' },
  };
  const over = { ...pod({}, { uid: 'uid-2', name: 'over' }), status: { phase: 'Succeeded' as const } };
  const held = allocationOf(waiting);
  const agent = await createFakeAgent(t, {
    allocations: createAllocations({
      allocated: new Map([
        ['uid-1', held],
        ['uid-2', held],
      ]),
    }),
    admission: {
      allocation: {
        name: 'allocation',
        admit(one, others) {
          counted.push(`${one.metadata.name} beside ${others.map(({ metadata }) => metadata.name)}`);
          return undefined;
        },
      },
    },
  });
  const late = pod({}, { uid: 'uid-3', name: 'late' });
  for (const one of [late, over, waiting]) agent.workers.update(one);
  await until('all run', () => agent.phase(late) === 'Running' && agent.phase(waiting) === 'Running');
  t.deepEqual(counted, ['late beside one']);
});
