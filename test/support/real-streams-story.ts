import { once } from 'node:events';
import type { ExecutionContext } from 'ava';
import { type ClusterHost, until } from './cluster-host.ts';
import { httpServer, pod, script } from './manifests.ts';

/** kubectl's other half through an API server that is not ours: its nodes are called `one` and `two`, and leave nothing behind but what ends by itself. */
export async function tellOfStreams(
  t: ExecutionContext,
  cluster: ClusterHost,
  nodeNames: readonly string[],
): Promise<void> {
  await cluster.apply(
    pod('echo', { stdin: true, stdinOnce: true, command: ['cat'] }, { restartPolicy: 'Never', nodeName: 'one' }),
    pod('over', script('echo run; sleep 1; exit 1'), { nodeName: 'two' }),
    pod('files', httpServer(8080), { nodeName: 'two' }),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/echo', 'pod/files', '--timeout=60s');
  t.is((await cluster.tryKubectl(['attach', '-i', 'echo'], 'hello\n')).stdout, 'hello\n');
  await cluster.sh('head -c 5000000 /dev/urandom >/srv/there; ln -sf there /srv/link');
  await cluster.kubectl('cp', '/srv/there', 'files:/tmp/there');
  await cluster.kubectl('cp', 'files:/tmp/there', '/srv/back');
  await cluster.sh('cmp /srv/there /srv/back');
  await until(
    'the first run is over',
    async () => (await cluster.tryKubectl(['logs', 'over', '--previous'])).code === 0,
  );
  t.is(await cluster.kubectl('logs', 'over', '--previous'), 'run\n');
  t.is(await cluster.kubectl('logs', 'files', '--tail=0', '--since=1h'), '');
  const raw = (path: string) => cluster.kubectl('get', '--raw', path);
  for (const name of nodeNames) {
    const proxy = `/api/v1/nodes/${name}/proxy`;
    t.is(await raw(`${proxy}/healthz`), 'ok');
    t.is(JSON.parse(await raw(`${proxy}/stats/summary`)).node.nodeName, name);
    t.true(JSON.parse(await raw(`${proxy}/pods`)).items.length > 0);
    t.true(JSON.parse(await raw(`${proxy}/debug/pprof/profile?seconds=1`)).nodes.length > 0);
  }
  await cluster.kubectl('delete', 'pod/echo', 'pod/over', 'pod/files', '--wait=false');
}

/** Exec with input, output, errors and exit code, and port-forward, to a pod of the demo. */
export async function tellOfExec(t: ExecutionContext, cluster: ClusterHost, name: string): Promise<void> {
  const said = await cluster.tryKubectl(
    ['exec', '-i', name, '--', 'sh', '-c', 'wc -c; echo err >&2; exit 3'],
    'x'.repeat(200_000),
  );
  t.deepEqual([said.stdout.trim(), said.code], ['200000', 3], said.stderr);
  t.regex(said.stderr, /^err\ncommand terminated with exit code 3/);
  const forwarding = cluster.spawnKubectl('port-forward', name, '9080:80');
  const answer = await until(`port-forward to ${name} answers`, async () => {
    const { stdout } = await cluster.try(['curl', '-sf', '-m', '3', 'http://127.0.0.1:9080/']);
    return stdout.includes('Berth works') && stdout;
  });
  t.regex(answer, /Berth works/);
  await cluster.try(['pkill', '-INT', '-f', 'kubectl port-forward']);
  if (forwarding.exitCode === null) await once(forwarding, 'exit');
}
