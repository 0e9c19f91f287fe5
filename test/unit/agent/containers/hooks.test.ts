import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { createLifecycleHooks } from '../../../../agent/containers/hooks.ts';
import type { Container, LifecycleHandler } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { podOf } from '../pod.ts';

const signal = new AbortController().signal;

function hooksWith(exitCode: number, output = '') {
  const commands: string[][] = [];
  const exec = {
    async exec(_: string, command: string[]) {
      commands.push(command);
      return { exitCode, output };
    },
  };
  const events: string[] = [];
  const fallbacks: true[] = [];
  const hooks = createLifecycleHooks({
    exec,
    nodeIp: '127.0.0.1',
    events: { event: (_pod, type, reason, message) => events.push(`${type} ${reason} ${message}`) },
    metrics: { lifecycleHttpFallback: () => fallbacks.push(true) },
    clock: systemClock,
  });
  const run = (
    handler: LifecycleHandler,
    container: Partial<Container> = {},
    podIp: string | null = '127.0.0.1',
    hostNetwork = false,
  ) =>
    hooks.run(handler, {
      pod: podOf({ hostNetwork }),
      container: { name: 'app', ...container },
      containerId: 'id',
      podIp: podIp ?? undefined,
      signal,
    });
  return { run, commands, events, fallbacks };
}

test('exec: the exit code decides', async (t) => {
  const good = hooksWith(0);
  await good.run({ exec: { command: ['a', 'b'] } });
  t.deepEqual(good.commands, [['a', 'b']]);
  await t.throwsAsync(hooksWith(2, 'why\n').run({ exec: { command: ['a', 'b'] } }), {
    message: "command 'a b' exited with 2: why",
  });
});

/** A server that answers 500 on /bad; closed at the end of the test. */
async function serve(t: ExecutionContext): Promise<{ port: number; seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    response.statusCode = request.url === '/bad' ? 500 : 200;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, seen };
}

test('httpGet: named port, headers; any answer is success', async (t) => {
  const { port, seen } = await serve(t);
  const { run, events } = hooksWith(0);
  const container = { ports: [{ name: 'web', containerPort: port }] };
  await run({ httpGet: { port: 'web', path: '/stop', httpHeaders: [{ name: 'X-A', value: '1' }] } }, container);
  t.is(seen[0]!.url, '/stop');
  t.is(seen[0]!.headers['user-agent'], 'kube-lifecycle/1.36');
  t.is(seen[0]!.headers['x-a'], '1');
  await t.notThrowsAsync(run({ httpGet: { port, path: '/bad' } }));
  await t.throwsAsync(run({ httpGet: { port: 'none' } }), { message: 'no port named "none" in container app' });
  await t.throwsAsync(run({ httpGet: { port: 1 } }, {}, null), { message: 'httpGet hook: the pod has no address' });
  await t.notThrowsAsync(run({ httpGet: { port } }, {}, null, true), 'a pod with the host’s network has its address');
  await t.throwsAsync(run({ httpGet: { port: 1 } }), { code: 'ECONNREFUSED' });
  t.deepEqual(events, []);
});

test('httpGet over HTTPS where the server speaks HTTP: asked again in the clear, without credentials, and told', async (t) => {
  const { port, seen } = await serve(t);
  const { run, events, fallbacks } = hooksWith(0);
  const httpHeaders = [
    { name: 'Authorization', value: 'Bearer secret' },
    { name: 'X-A', value: '1' },
  ];
  await run({ httpGet: { port, scheme: 'HTTPS', path: '/stop', httpHeaders } });
  t.is(seen.length, 1);
  t.is(seen[0]!.headers.authorization, undefined);
  t.is(seen[0]!.headers['x-a'], '1');
  t.deepEqual(events, [
    `Warning LifecycleHTTPFallback request to HTTPS lifecycle hook 127.0.0.1:${port} got HTTP response, retry with HTTP succeeded`,
  ]);
  t.is(fallbacks.length, 1);
});

test('tcpSocket is in the API but fails when it is to run', async (t) => {
  await t.throwsAsync(hooksWith(0).run({ tcpSocket: { port: 1 } }), { message: /^invalid handler: tcpSocket/ });
});

test('sleep', async (t) => {
  const { run } = hooksWith(0);
  const startedMs = performance.now();
  await run({ sleep: { seconds: 0.05 } });
  t.true(performance.now() - startedMs >= 45);
});
