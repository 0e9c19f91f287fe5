/** What each fault looks like to the Engine's client, against a real Engine: every call ends, in time and with a DockerError that says how. */
import { once } from 'node:events';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { connectDocker } from '../../../src/docker/connect.ts';
import type { DockerEngine } from '../../../src/docker/engine.ts';
import { DockerError, type DockerErrorKind, isDockerTimeout } from '../../../src/docker/errors.ts';
import { type DockerFaultProxy, startDockerFaultProxy } from '../../support/docker-fault-proxy.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { eventually } from '../../support/eventually.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

/** Nobody waits for so long: what fails sooner did not run out of time. */
const PATIENCE_MS = 60_000;
/** Longer than the Engine takes to make a container. */
const MAKING_MS = 4000;

const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let daemon: PrivateDockerd;
let proxy: DockerFaultProxy;
let overTcp: DockerFaultProxy;
let docker: DockerEngine;
let dockerOverTcp: DockerEngine;
/** For what gets no answer at all; what gets one is never in such a hurry, as the machine may be busy. */
let hasty: DockerEngine;
let id: string;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    daemon = await startDockerd();
    await loadTestImages(daemon.socketPath);
    proxy = await startDockerFaultProxy(daemon.socketPath);
    overTcp = await startDockerFaultProxy(daemon.socketPath, 'tcp');
    docker = connectDocker(proxy.endpoint, { requestTimeoutMs: PATIENCE_MS, inspectTimeoutMs: PATIENCE_MS });
    dockerOverTcp = connectDocker(overTcp.endpoint, { requestTimeoutMs: PATIENCE_MS });
    hasty = connectDocker(proxy.endpoint, { requestTimeoutMs: 700 });
    const config = { Image: BUSYBOX_IMAGE, Cmd: ['sleep', '1000'], HostConfig: { NetworkMode: 'none' } };
    ({ id } = await daemon.docker.createContainer('faulty', config));
    await daemon.docker.startContainer(id);
  });
  test.afterEach.always(() => {
    proxy.clear();
    overTcp.clear();
    proxy.calls.length = 0;
  });
  test.after.always(async () => {
    for (const one of [docker, dockerOverTcp, hasty]) one?.close();
    await overTcp?.close();
    await proxy?.close();
    await daemon?.stop();
  });
}

async function kindOf(call: Promise<unknown>): Promise<{ kind: DockerErrorKind; message: string }> {
  const error = await call.then(
    () => undefined,
    (reason) => reason,
  );
  if (!(error instanceof DockerError)) throw new Error(`no DockerError: ${error}`);
  return { kind: error.kind, message: error.engineMessage };
}

real('an error has its status and its words; the next call is whole again', async (t) => {
  proxy.on({ path: /\/json$/, nth: 1 }, { kind: 'error', status: 500, message: 'layer does not exist' });
  t.like(await kindOf(docker.inspectContainer(id)), { kind: 'server', message: 'layer does not exist' });
  t.is((await docker.inspectContainer(id)).id, id);
});

real(
  'R4: a hang of one inspection is DeadlineExceeded after its own time-out; other containers answer meanwhile',
  async (t) => {
    const engine = connectDocker(proxy.endpoint, { requestTimeoutMs: PATIENCE_MS, inspectTimeoutMs: 300 });
    t.teardown(() => engine.close());
    proxy.on({ path: new RegExp(`/containers/${id}/json`) }, { kind: 'hang', when: 'before' });
    const hung = kindOf(engine.inspectContainer(id));
    await engine.listContainers({});
    await engine.info();
    const { kind, message } = await hung;
    t.is(kind, 'timeout');
    t.regex(message, /^DeadlineExceeded: Docker Engine at .* gave no answer within 0\.3 s$/);
  },
);

real('a call that the Engine has done but not answered is a time-out, too', async (t) => {
  const engine = connectDocker(proxy.endpoint, { requestTimeoutMs: MAKING_MS });
  t.teardown(() => engine.close());
  proxy.on({ method: 'POST', path: /create$/ }, { kind: 'hang', when: 'after' });
  const config = { Image: BUSYBOX_IMAGE, HostConfig: { NetworkMode: 'none' } };
  const error = await t.throwsAsync(() => engine.createContainer('unheard', config));
  t.true(isDockerTimeout(error));
  t.is((await daemon.docker.inspectContainer('unheard')).state, 'created');
  await daemon.docker.removeContainer('unheard');
});

real(
  'a dropped connection and one that is reset are unreachable at once, before and after the Engine has done it',
  async (t) => {
    for (const when of ['before', 'after'] as const) {
      const rule = proxy.on({ path: /\/info/ }, { kind: 'drop', when });
      t.is((await kindOf(docker.info())).kind, 'unreachable', 'not the time-out');
      rule.remove();
    }
    for (const afterBytes of [0, 40]) {
      const rule = overTcp.on({ path: /\/info/ }, { kind: 'tear', afterBytes, how: 'reset' });
      t.is((await kindOf(dockerOverTcp.info())).kind, 'unreachable', `${afterBytes} bytes`);
      rule.remove();
    }
  },
);

for (const afterBytes of [0, 1, 100])
  real(`an answer torn after ${afterBytes} bytes fails, and one that falls silent there is a time-out`, async (t) => {
    proxy.on({ path: /\/info/, nth: 1 }, { kind: 'tear', afterBytes, how: 'close' });
    t.is((await kindOf(docker.info())).kind, 'unreachable');
    proxy.on({ path: /\/version/, nth: 1 }, { kind: 'tear', afterBytes, how: 'silence' });
    t.is((await kindOf(hasty.version())).kind, 'timeout');
  });

real('a delay is only a delay', async (t) => {
  proxy.on({ path: /\/info/ }, { kind: 'delay', ms: 200 });
  const began = performance.now();
  await docker.info();
  t.true(performance.now() - began >= 190);
});

real(
  'an exec whose stream is torn in the middle of a frame fails; it does not hang and does not pretend to have ended',
  async (t) => {
    proxy.on({ path: /\/exec\/.*\/start/ }, { kind: 'tear', afterBytes: 11, how: 'close' });
    await t.throwsAsync(() => docker.execInContainer(id, ['echo', 'hello world']), { instanceOf: DockerError });
  },
);

real('an event stream torn in the middle of a line ends with an error, an open one sees the containers', async (t) => {
  proxy.on({ path: /\/events/, nth: 1 }, { kind: 'tear', afterBytes: 25, how: 'close' });
  for (const round of [1, 2]) {
    const stop = new AbortController();
    const opened = Promise.withResolvers<void>();
    const seen: string[] = [];
    const following = (async () => {
      for await (const { action } of docker.containerEvents({ onOpen: opened.resolve }, stop.signal)) seen.push(action);
    })();
    following.catch(() => undefined);
    await opened.promise;
    const config = { Image: BUSYBOX_IMAGE, HostConfig: { NetworkMode: 'none' } };
    const made = await daemon.docker.createContainer(`torn-${round}`, config);
    await daemon.docker.removeContainer(made.id);
    if (round === 1) await t.throwsAsync(following);
    else await eventually('events', () => seen.includes('destroy'));
    stop.abort();
  }
});

real('a hijacked connection goes both ways, and is torn where the script says', async (t) => {
  const script = ['sh', '-c', 'read line; echo "said $line"; sleep 60'];
  for (const fault of [undefined, 'close'] as const) {
    if (fault) proxy.on({ path: /\/attach/ }, { kind: 'tear', afterBytes: 4, how: fault });
    const config = { Image: BUSYBOX_IMAGE, Cmd: script, OpenStdin: true, HostConfig: { NetworkMode: 'none' } };
    const made = await daemon.docker.createContainer(`attached-${fault}`, config);
    await daemon.docker.startContainer(made.id);
    const call = request({
      socketPath: proxy.endpoint.slice('unix://'.length),
      method: 'POST',
      path: `/v1.41/containers/${made.id}/attach?stream=1&stdin=1&stdout=1`,
      headers: { Connection: 'Upgrade', Upgrade: 'tcp' },
    });
    call.end();
    const [response, socket, head] = (await once(call, 'upgrade')) as [{ statusCode: number }, Socket, Buffer];
    t.is(response.statusCode, 101);
    socket.write('hello\n');
    let heard = head;
    socket.on('data', (data: Buffer) => {
      heard = Buffer.concat([heard, data]);
    });
    if (fault) {
      await once(socket, 'close');
      t.is(heard.length, 4);
    } else {
      await eventually('an echo', () => heard.includes('said hello'));
      socket.destroy();
    }
    await daemon.docker.removeContainer(made.id, { force: true });
  }
});

real('frozen at the k-th call: that one and all behind it are held, until released', async (t) => {
  const frozen = proxy.freezeAt(2, 'before', { path: /\/(info|version)/ });
  await docker.info();
  const held = docker.version();
  t.is((await frozen.struck).path, '/version');
  let isDone = false;
  const behind = docker.info().finally(() => {
    isDone = true;
  });
  await sleep(100);
  t.false(isDone);
  proxy.clear();
  await Promise.all([held, behind]);
  t.pass();
});

real('R5: a storm of questions about one container is one call at a time, and never asks for sizes', async (t) => {
  await Promise.all(Array.from({ length: 50 }, () => docker.inspectContainer(id)));
  await docker.listContainers({});
  const inspections = proxy.calls.filter(({ path }) => path === `/containers/${id}/json`);
  t.is(inspections.length, 2);
  t.true(inspections[1]!.beganMs >= inspections[0]!.endedMs!);
  t.deepEqual(
    proxy.calls.filter(({ query }) => /size/.test(query)),
    [],
  );
});
