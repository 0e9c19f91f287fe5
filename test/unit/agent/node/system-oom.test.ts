import test from 'ava';
import { createSystemOomWatcher, parseSystemOom } from '../../../../agent/node/system-oom.ts';
import { parseKernelRecord } from '../../../../src/linux/kernel-log.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

const GLOBAL =
  'oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/user.slice,task=my, task,pid=1234,uid=0';
const OF_CGROUP =
  'oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/kubepods/x,task_memcg=/kubepods/x/y,task=tail,pid=99,uid=0';

test('the victim of the whole machine; not of a cgroup, not of another line', (t) => {
  t.deepEqual(parseSystemOom(GLOBAL), { process: 'my, task', pid: 1234 });
  t.is(parseSystemOom(OF_CGROUP), undefined);
  t.is(parseSystemOom('Out of memory: Killed process 1234 (x) total-vm:1kB'), undefined);
});

test('records of the kernel', (t) => {
  t.is(parseKernelRecord('4,1339,5140900,-;a; b\n SUBSYSTEM=x\n'), 'a; b');
  t.is(parseKernelRecord('no head'), 'no head');
});

async function watch(reads: string[][], open?: () => never) {
  const clock = createFakeClock();
  const seen: number[] = [];
  const stop = new AbortController();
  let isClosed = false;
  const kernel = {
    read: () => reads.shift() ?? [],
    close() {
      isClosed = true;
    },
  };
  const watcher = createSystemOomWatcher({
    openLog: open ?? (() => kernel),
    onOom: ({ pid }) => seen.push(pid),
    clock,
    log: silentLogger,
  });
  const running = watcher.run(stop.signal);
  for (let round = 0; round < 4; round++) await clock.advance(5_000);
  stop.abort();
  await running;
  return { seen, isClosed };
}

test('what the log held before is no news; what comes is', async (t) => {
  const old = Array.from({ length: 200 }, () => GLOBAL);
  t.deepEqual(await watch([old, [GLOBAL], [], [OF_CGROUP, GLOBAL.replace('1234', '5')]]), {
    seen: [5],
    isClosed: true,
  });
});

test('where the log may not be read there are no events, and nothing ends', async (t) => {
  const refused = () => {
    throw Object.assign(new Error('EPERM'), { code: 'EPERM' });
  };
  t.deepEqual((await watch([], refused)).seen, []);
});
