import { type ChildProcess, spawn } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import { findProgram, hasProgram, run } from '../../../src/linux/exec.ts';
import { createIptables, type Run } from '../../../src/netfilter/iptables.ts';
import { findLockHolders, LockedError } from '../../../src/netfilter/xtables-lock.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns } from '../../support/netns.ts';

const LOCK_FILE = '/run/xtables.lock';
const legacy: Run = (program, args, options) => run(program.replace('tables', 'tables-legacy'), args, options);

async function holdLock(t: ExecutionContext): Promise<ChildProcess> {
  const child = spawn(findProgram('flock'), [LOCK_FILE, 'sleep', '60'], { stdio: 'ignore', detached: true });
  // The sleep holds it too, having inherited the descriptor.
  const stop = () => child.pid && process.kill(-child.pid, 'SIGKILL');
  t.teardown(() => {
    if (child.exitCode === null && child.signalCode === null) stop();
  });
  await eventually('the lock is held', () => findLockHolders().length > 0);
  return child;
}

const real = hasProgram('iptables-legacy') && hasProgram('flock') ? test : test.skip;

real(
  'R10: a lock that another program holds is waited for, told with its holder, and changes nothing half',
  async (t) => {
    const netns = await createTestNetns(t, 'lock');
    const iptables = createIptables({ family: 'IPv4', run: legacy, netns: netns.path, lockWaitSeconds: 1 });
    const transaction = [
      { table: 'filter' as const, chains: ['KUBE-FORWARD'], commands: ['-A KUBE-FORWARD -j ACCEPT'] },
    ];
    const holder = await holdLock(t);
    const error = await t.throwsAsync(iptables.restore(transaction), { instanceOf: LockedError });
    t.regex(
      error!.message,
      new RegExp(`the xtables lock /run/xtables\\.lock is held by flock \\(pid ${holder.pid}\\)`),
    );
    process.kill(-holder.pid!, 'SIGKILL');
    await eventually('the lock is free', () => findLockHolders().length === 0);
    t.false((await iptables.save('filter')).get('filter')?.has('KUBE-FORWARD') ?? false);
    await iptables.restore(transaction);
    t.deepEqual((await iptables.save('filter')).get('filter')?.get('KUBE-FORWARD')?.rules, ['-j ACCEPT']);
  },
);
