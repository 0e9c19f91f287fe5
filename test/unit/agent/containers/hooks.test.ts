import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'ava';
import { createLifecycleHooks } from '../../../../agent/containers/hooks.ts';
import type { Container, LifecycleHandler } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';

const signal = new AbortController().signal;

function hooksWith(exitCode: number, output = '') {
  const commands: string[][] = [];
  const exec = {
    async exec(_: string, command: string[]) {
      commands.push(command);
      return { exitCode, output };
    },
  };
  const hooks = createLifecycleHooks(exec, systemClock);
  const run = (
    handler: LifecycleHandler,
    container: Partial<Container> = {},
    podIp: string | undefined = '127.0.0.1',
  ) => hooks.run(handler, { container: { name: 'app', ...container }, containerId: 'id', podIp, signal });
  return { run, commands };
}

test('exec: the exit code decides', async (t) => {
  const good = hooksWith(0);
  await good.run({ exec: { command: ['a', 'b'] } });
  t.deepEqual(good.commands, [['a', 'b']]);
  await t.throwsAsync(hooksWith(2, 'why\n').run({ exec: { command: ['a', 'b'] } }), {
    message: "command 'a b' exited with 2: why",
  });
});

test('httpGet: named port, headers, status', async (t) => {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    response.statusCode = request.url === '/bad' ? 500 : 200;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { run } = hooksWith(0);
  const container = { ports: [{ name: 'web', containerPort: port }] };
  await run({ httpGet: { port: 'web', path: '/stop', httpHeaders: [{ name: 'X-A', value: '1' }] } }, container);
  t.is(seen[0]!.url, '/stop');
  t.is(seen[0]!.headers['user-agent'], 'kube-lifecycle/1.36');
  t.is(seen[0]!.headers['x-a'], '1');
  await t.throwsAsync(run({ httpGet: { port, path: '/bad' } }), { message: 'httpGet hook: HTTP status 500' });
  await t.throwsAsync(run({ httpGet: { port: 'none' } }), { message: 'no port named "none" in container app' });
  const hooks = createLifecycleHooks({ exec: async () => ({ exitCode: 0, output: '' }) }, systemClock);
  const context = { container: { name: 'app' }, containerId: 'id', podIp: undefined, signal };
  await t.throwsAsync(hooks.run({ httpGet: { port: 1 } }, context), {
    message: 'httpGet hook: the pod has no address',
  });
});

test('sleep, and nothing at all', async (t) => {
  const { run } = hooksWith(0);
  const startedMs = performance.now();
  await run({ sleep: { seconds: 0.05 } });
  t.true(performance.now() - startedMs >= 45);
  await t.notThrowsAsync(run({}));
});
