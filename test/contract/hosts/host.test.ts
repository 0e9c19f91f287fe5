import { existsSync } from 'node:fs';
import test from 'ava';
import { createHost } from '../../../cli/hosts/host.ts';
import { createSwitch } from '../../../cli/hosts/switch.ts';

test.serial('a host has its own names, files, processes, network and cgroups, and leaves nothing', async (t) => {
  const host = await createHost('alpha');
  t.teardown(() => host.close());
  t.is((await host.run(['hostname'])).stdout, 'alpha\n');
  t.is((await host.run(['sh', '-c', 'echo $$ > /etc/berth-was-here; cat /etc/berth-was-here'])).code, 0);
  t.false(existsSync('/etc/berth-was-here'));
  t.true(existsSync(host.path('/etc/berth-was-here')));
  t.regex((await host.run(['ip', '-o', 'link'])).stdout, /^1: lo: <LOOPBACK,UP,LOWER_UP>[^\n]*\n$/);
  t.regex((await host.run(['cat', '/proc/self/cgroup'])).stdout, /^(\d+:[^:]*:\/(init)?\n)+$/);
  t.is((await host.run(['sh', '-c', 'exit 7'])).code, 7);
  await host.close();
  t.false(existsSync(`/proc/${host.initPid}`));
  await host.close();
});

test.serial('hosts on a switch reach each other and nothing else', async (t) => {
  const net = await createSwitch();
  t.teardown(() => net.close());
  const [one, two] = [await createHost('one'), await createHost('two')];
  t.teardown(() => one.close());
  t.teardown(() => two.close());
  t.is(await net.plug(one), '198.51.100.10');
  t.is(await net.plug(two), '198.51.100.11');
  const server = two.spawn(['busybox', 'nc', '-l', '-p', '7', '-e', 'hostname'], { stdio: 'ignore' });
  t.teardown(() => server.kill('SIGKILL'));
  const answer = await one.run(
    ['sh', '-c', 'for i in 1 2 3 4 5 6 7 8 9; do busybox nc 198.51.100.11 7 </dev/null && exit; sleep 0.1; done'],
    { timeoutMs: 10_000 },
  );
  t.is(answer.stdout, 'two\n');
  t.is(
    (await one.run(['ip', 'route'])).stdout.trim(),
    '198.51.100.0/24 dev eth0 proto kernel scope link src 198.51.100.10',
  );
});
