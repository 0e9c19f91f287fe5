import test, { type ExecutionContext } from 'ava';
import { connectDocker } from '../../../src/docker/connect.ts';
import type { ContainerEvent, DockerEngine } from '../../../src/docker/engine.ts';
import { DockerError, isDockerConflict, isDockerNotFound } from '../../../src/docker/errors.ts';
import { createFakeDocker } from '../../fakes/docker.ts';
import { type DockerFaultProxy, startDockerFaultProxy } from '../../support/docker-fault-proxy.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { eventually } from '../../support/eventually.ts';
import { BUSYBOX_IMAGE, loadTestImages, PAUSE_IMAGE } from '../../support/images.ts';

const obstacle = whyNoDockerd();
let daemon: PrivateDockerd | undefined;
let proxy: DockerFaultProxy | undefined;
let proxied: DockerEngine | undefined;

if (obstacle) test(`real Engine skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    daemon = await startDockerd();
    await loadTestImages(daemon.socketPath);
    proxy = await startDockerFaultProxy(daemon.socketPath);
    proxied = connectDocker(proxy.endpoint);
  });
  test.after.always(async () => {
    proxied?.close();
    await proxy?.close();
    await daemon?.stop();
  });
}

function fakeEngine(): DockerEngine {
  const fake = createFakeDocker();
  fake.addImage(BUSYBOX_IMAGE, {}, { '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n' });
  fake.addImage(PAUSE_IMAGE);
  fake.onStop = (container) => (container.config.Cmd?.[0] === 'sh' ? 0 : 'ignore');
  fake.onExec = async (_, command) => ({
    exitCode: command[0] === 'false' ? 1 : 0,
    output: command.slice(1).join(' '),
  });
  return fake;
}

/** The real Engine, and the same behind a fault proxy without a script: whatever tests see there, the faults have done. */
const realEngines: [string, () => DockerEngine][] = obstacle
  ? []
  : [
      ['real', () => daemon!.docker],
      ['real behind the fault proxy', () => proxied!],
    ];

/** The same assertions for the fake and for the real Engine. */
function contract(title: string, run: (t: ExecutionContext, docker: DockerEngine, name: string) => Promise<void>) {
  const name = title.replaceAll(/[^a-z]+/g, '-');
  test(`fake: ${title}`, (t) => run(t, fakeEngine(), name));
  for (const [engine, docker] of realEngines) test.serial(`${engine}: ${title}`, (t) => run(t, docker(), name));
}

async function gather<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

const NETWORK = { NetworkMode: 'none' };
const POLITE = ['sh', '-c', 'trap "exit 0" TERM; touch /trap-is-set; while :; do sleep 0.05; done'];
const STUBBORN = ['busybox', 'sleep', '1000'];

contract('it answers, and says what it is made of', async (t, docker) => {
  await t.notThrowsAsync(docker.ping());
  t.regex((await docker.version()).components.runc ?? '', /^\d+\.\d+/);
  t.true((await docker.info()).runtimes.includes('runc'));
});

contract('a file of a container that never ran', async (t, docker, name) => {
  const { id } = await docker.createContainer(name, { Image: BUSYBOX_IMAGE, HostConfig: NETWORK });
  t.regex((await docker.readContainerFile(id, '/etc/passwd'))?.toString() ?? '', /^root:x:0:0:/);
  t.is(await docker.readContainerFile(id, '/etc/none'), undefined);
  t.is(await docker.readContainerFile(id, '/etc'), undefined);
  await docker.removeContainer(id);
  await t.throwsAsync(docker.inspectContainer(id));
});

contract('a container goes from created over running to exited', async (t, docker, name) => {
  const { id } = await docker.createContainer(name, {
    Image: BUSYBOX_IMAGE,
    Cmd: POLITE,
    Labels: { test: name },
    HostConfig: NETWORK,
  });
  t.regex(id, /^[0-9a-f]{64}$/);
  const created = await docker.inspectContainer(id);
  t.like(created, { id, name, image: BUSYBOX_IMAGE, state: 'created', startedAtMs: undefined, exitCode: undefined });
  await docker.startContainer(id);
  await docker.startContainer(id);
  const running = await docker.inspectContainer(id);
  t.like(running, { state: 'running', finishedAtMs: undefined, exitCode: undefined, networkMode: 'none' });
  t.true(running.pid! > 0);
  t.true(Math.abs(running.startedAtMs! - Date.now()) < 10_000);
  const [row] = await docker.listContainers({ labels: [`test=${name}`] });
  t.like(row, { id, name, image: BUSYBOX_IMAGE, state: 'running', imageId: running.imageId });
  await eventually(
    'the shell has set its trap',
    async () => (await docker.execInContainer(id, ['test', '-e', '/trap-is-set'])).exitCode === 0,
  );
  await docker.stopContainer(id, 5);
  await docker.stopContainer(id, 5);
  const ended = await docker.inspectContainer(id);
  t.like(ended, { state: 'exited', exitCode: 0, oomKilled: false, pid: undefined, error: '' });
  t.true(ended.finishedAtMs! >= ended.startedAtMs!);
  t.deepEqual(await docker.waitContainer(id), { exitCode: 0 });
  await docker.removeContainer(id);
  t.deepEqual(await docker.listContainers({ labels: [`test=${name}`] }), []);
});

contract('what does not exist is notFound, in every call', async (t, docker, name) => {
  const absent = 'f'.repeat(64);
  const calls: (() => Promise<unknown>)[] = [
    () => docker.inspectContainer(absent),
    () => docker.startContainer(absent),
    () => docker.stopContainer(absent, 1),
    () => docker.killContainer(absent, 'SIGKILL'),
    () => docker.removeContainer(absent),
    () => docker.removeContainer(absent, { force: true }),
    () => docker.execInContainer(absent, ['true']),
    () => docker.waitContainer(absent),
    () => gather(docker.containerLogs(absent, {})),
    () => docker.inspectImage('berth/absent:1'),
    () => docker.removeImage('berth/absent:1'),
    () => docker.createContainer(name, { Image: 'berth/absent:1' }),
  ];
  for (const call of calls) {
    const error = await t.throwsAsync(call, { instanceOf: DockerError });
    t.true(isDockerNotFound(error), `${call}: ${error?.message}`);
    t.regex((error as DockerError).engineMessage, /no such/i);
  }
});

contract('an image stays while a container is made of it', async (t, docker, name) => {
  const { id } = await docker.createContainer(name, { Image: BUSYBOX_IMAGE, HostConfig: NETWORK });
  const error = await t.throwsAsync(docker.removeImage(BUSYBOX_IMAGE), { instanceOf: DockerError });
  t.true(isDockerConflict(error), error?.message);
  t.is((await docker.inspectContainer(id)).imageId, (await docker.inspectImage(BUSYBOX_IMAGE)).id);
  await docker.removeContainer(id);
});

contract('a taken name, and killing what does not run, are conflicts', async (t, docker, name) => {
  const config = { Image: BUSYBOX_IMAGE, Cmd: STUBBORN, HostConfig: NETWORK };
  const { id } = await docker.createContainer(name, config);
  const taken = await t.throwsAsync(() => docker.createContainer(name, config));
  t.true(isDockerConflict(taken));
  t.true(isDockerConflict(await t.throwsAsync(() => docker.killContainer(id, 'SIGKILL'))));
  t.true(isDockerConflict(await t.throwsAsync(() => docker.execInContainer(id, ['true']))));
  await docker.startContainer(id);
  t.true(isDockerConflict(await t.throwsAsync(() => docker.removeContainer(id))));
  await docker.stopContainer(id, 1);
  t.is((await docker.inspectContainer(id)).exitCode, 137);
  await docker.removeContainer(name);
  await t.throwsAsync(() => docker.inspectContainer(id));
});

contract('exec: exit code and output, cut at the limit', async (t, docker, name) => {
  const { id } = await docker.createContainer(name, { Image: BUSYBOX_IMAGE, Cmd: STUBBORN, HostConfig: NETWORK });
  await docker.startContainer(id);
  const said = await docker.execInContainer(
    id,
    ['echo', '-n', 'hello'].filter((word) => word !== '-n'),
  );
  t.is(said.exitCode, 0);
  t.is(said.output.toString().trim(), 'hello');
  t.is((await docker.execInContainer(id, ['false'])).exitCode, 1);
  const cut = await docker.execInContainer(id, ['echo', 'x'.repeat(100)], { maxOutputBytes: 10 });
  t.is(cut.output.toString(), 'x'.repeat(10));
  await docker.removeContainer(id, { force: true });
});

contract('events: only those with the label, in order, with exit codes', async (t, docker, name) => {
  const stop = new AbortController();
  const events: ContainerEvent[] = [];
  const opened = Promise.withResolvers<void>();
  const following = (async () => {
    const stream = docker.containerEvents({ labels: [`test=${name}`], onOpen: opened.resolve }, stop.signal);
    for await (const event of stream) events.push(event);
  })();
  await opened.promise;
  const make = (suffix: string, label: string) =>
    docker.createContainer(`${name}${suffix}`, {
      Image: BUSYBOX_IMAGE,
      Cmd: STUBBORN,
      Labels: { test: label },
      HostConfig: NETWORK,
    });
  const other = await make('-other', 'other');
  const own = await make('', name);
  for (const { id } of [other, own]) {
    await docker.startContainer(id);
    await docker.removeContainer(id, { force: true });
  }
  await eventually('its removal is told', () => events.some(({ action }) => action === 'destroy'));
  stop.abort();
  await t.throwsAsync(following);
  t.deepEqual(new Set(events.map(({ id }) => id)), new Set([own.id]));
  const actions = events
    .map(({ action }) => action)
    .filter((action) => ['create', 'start', 'die', 'destroy'].includes(action));
  t.deepEqual(actions, ['create', 'start', 'die', 'destroy']);
  const die = events.find(({ action }) => action === 'die')!;
  t.is(die.attributes.exitCode, '137');
  t.is(die.attributes.name, name);
  t.true(Math.abs(Number(die.timeNano / 1_000_000n) - Date.now()) < 60_000);
});

contract('images: listed and inspected by name and id', async (t, docker) => {
  const image = await docker.inspectImage(BUSYBOX_IMAGE);
  t.regex(image.id, /^sha256:[0-9a-f]{64}$/);
  t.is((await docker.inspectImage(image.id)).id, image.id);
  const names = (await docker.listImages()).flatMap(({ repoTags }) => repoTags);
  t.true(names.includes(BUSYBOX_IMAGE) && names.includes(PAUSE_IMAGE));
});

for (const [engine, engineOf] of realEngines) {
  test.serial(`${engine}: logs are demultiplexed, follow ends with the container`, async (t) => {
    const docker = engineOf();
    const { id } = await docker.createContainer('logs', {
      Image: BUSYBOX_IMAGE,
      Cmd: ['sh', '-c', 'echo out; echo err >&2; sleep 0.3; echo late'],
      HostConfig: NETWORK,
    });
    await docker.startContainer(id);
    const chunks = await gather(docker.containerLogs(id, { follow: true }));
    const text = (stream: string) =>
      chunks
        .filter((one) => one.stream === stream)
        .map(({ data }) => `${data}`)
        .join('');
    t.is(text('stdout'), 'out\nlate\n');
    t.is(text('stderr'), 'err\n');
    const tail = await gather(docker.containerLogs(id, { tail: 1, stderr: false }));
    t.is(tail.map(({ data }) => `${data}`).join(''), 'late\n');
    const [stamped] = await gather(docker.containerLogs(id, { timestamps: true, tail: 1 }));
    t.regex(`${stamped!.data}`, /^\d{4}-\d\d-\d\dT[\d:.]+Z late\n$/);
    await docker.removeContainer(id);
  });

  test.serial(`${engine}: a failed start is an exited container with the runtime’s words`, async (t) => {
    const docker = engineOf();
    const { id } = await docker.createContainer('unstartable', {
      Image: BUSYBOX_IMAGE,
      Entrypoint: ['/no/such/program'],
      HostConfig: NETWORK,
    });
    await t.throwsAsync(() => docker.startContainer(id), { instanceOf: DockerError, message: /no such file/ });
    const detail = await docker.inspectContainer(id);
    t.is(detail.state, 'exited');
    t.is(detail.exitCode, 127);
    t.regex(detail.error, /no such file/);
    t.is(detail.startedAtMs, undefined);
    await docker.removeContainer(id);
  });

  test.serial(`${engine}: an aborted call rejects with the reason of the signal`, async (t) => {
    const docker = engineOf();
    const { id } = await docker.createContainer('aborted', {
      Image: BUSYBOX_IMAGE,
      Cmd: STUBBORN,
      HostConfig: NETWORK,
    });
    await docker.startContainer(id);
    const stop = new AbortController();
    const reason = new Error('enough');
    setTimeout(() => stop.abort(reason), 50);
    t.is(await t.throwsAsync(() => docker.waitContainer(id, stop.signal)), reason);
    t.is(await t.throwsAsync(() => docker.execInContainer(id, ['sleep', '5'], {}, AbortSignal.abort(reason))), reason);
    const late = AbortSignal.timeout(300);
    await t.throwsAsync(() => docker.execInContainer(id, ['sleep', '77'], {}, late), { name: 'TimeoutError' });
    const { output } = await docker.execInContainer(id, ['ps', '-o', 'args']);
    t.false(output.toString().includes('sleep 77'), 'the command of an aborted exec is killed');
    await docker.removeContainer(id, { force: true });
  });
}

test('real: an Engine that is not there is unreachable', async (t) => {
  const docker = connectDocker('unix:///tmp/berth-no-such-engine.sock');
  const error = await t.throwsAsync(() => docker.info(), { instanceOf: DockerError });
  t.is((error as DockerError).kind, 'unreachable');
  t.regex(error!.message, /unix:\/\/\/tmp\/berth-no-such-engine\.sock does not answer/);
});
