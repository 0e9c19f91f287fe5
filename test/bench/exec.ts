/**
 * `kubectl exec POD -- true` beside `docker exec CONTAINER true` on the same engine, in turn. What the API server and kubectl themselves cost is told by
 * `kubectl get pod POD`, which exec asks first: it starts the same program, and asks the same server once. Aim: p50 ≤ 1.3 × docker exec + that.
 *
 * Beside it what is the agent's alone: an exec over a WebSocket to its own port, and the same by the Engine's API, both from one process that is warm.
 *
 *     .toolchain/bin/node test/bench/exec.ts [rounds]
 */

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import WebSocket from 'ws';
import { connectTerminals } from '../../src/docker/terminals.ts';
import { DOCKER, prepareKubectl, shell, timed } from './commands.ts';
import { benchInCluster, IMAGE, line, PATIENT, say, summarize } from './support.ts';

const ENDPOINT = 'unix:///run/berth/docker.sock';
const PKI = '/var/lib/berth/pki';

await benchInCluster(import.meta.filename, async () => {
  const rounds = 40;
  await prepareKubectl();
  const spec = { containers: [{ name: 'main', image: IMAGE, command: PATIENT }], terminationGracePeriodSeconds: 1 };
  await shell('kubectl apply -f -', JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web' }, spec }));
  await shell('kubectl wait --for=condition=Ready pod/web --timeout=60s');
  const id = (await shell(`${DOCKER} ps -q --no-trunc -f name=k8s_main_web`)).trim();
  const address = (await shell('kubectl get node -o jsonpath={.items[0].status.addresses[0].address}')).trim();
  const terminals = connectTerminals(ENDPOINT);
  const node = nodeClient(address);
  const samples = { docker: [], kubectl: [], spdy: [], get: [], engine: [], agent: [] } as Record<string, number[]>;
  for (let round = -2; round < rounds; round++) {
    const times = {
      docker: await timed(`${DOCKER} exec ${id} true`),
      kubectl: await timed('kubectl exec web -- true'),
      spdy: await timed('KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false kubectl exec web -- true'),
      get: await timed('kubectl get pod web -o name'),
      engine: await took(() => execByEngine(terminals, id)),
      agent: await took(() => node('/exec/default/web/main?command=true&output=1')),
    };
    // The first ones warm caches.
    if (round >= 0) for (const [name, ms] of Object.entries(times)) samples[name]!.push(ms);
  }
  terminals.close();
  say(line('docker exec … true', samples['docker']!));
  say(line('kubectl exec … true (WebSocket)', samples['kubectl']!));
  say(line('kubectl exec … true (SPDY)', samples['spdy']!));
  say(line("kubectl get pod (kubectl's and the server's own)", samples['get']!));
  say(line("exec by the Engine's API, warm", samples['engine']!));
  say(line('exec over a WebSocket to the node, warm', samples['agent']!));
  const p50 = (name: string) => summarize(samples[name]!).p50;
  const most = 1.3 * p50('docker') + p50('get');
  say(
    `kubectl exec ${p50('kubectl').toFixed(0)} ms, aim ≤ 1.3 × ${p50('docker').toFixed(0)} + ${p50('get').toFixed(0)} = ${most.toFixed(0)} ms`,
  );
  say(`the node's exec is ${(p50('agent') / p50('engine')).toFixed(2)} × the Engine's`);
});

async function took(work: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

async function execByEngine(terminals: ReturnType<typeof connectTerminals>, id: string): Promise<void> {
  const session = await terminals.exec(id, ['true'], { stdin: false, stdout: true, stderr: true, tty: false });
  session.stream.resume();
  await once(session.stream, 'end');
  if ((await session.exitCode()) !== 0) throw new Error('true failed');
}

/** As the API server: its client certificate, v5 of the protocol, to the end of the command. */
function nodeClient(address: string): (path: string) => Promise<void> {
  const file = (ending: string) => {
    const name = readdirSync(PKI).find((one) => one.includes('kubelet-client') && one.endsWith(ending));
    if (!name) throw new Error(`no client certificate of the API server in ${PKI}`);
    return readFileSync(`${PKI}/${name}`);
  };
  const [cert, key] = [file('.crt'), file('.key')];
  return async (path) => {
    const socket = new WebSocket(`wss://${address}:10250${path}`, 'v5.channel.k8s.io', {
      cert,
      key,
      rejectUnauthorized: false,
    });
    const status: string[] = [];
    socket.on('message', (data: Buffer) => data[0] === 3 && status.push(data.toString('utf8', 1)));
    await once(socket, 'close');
    if (!status.join('').includes('"Success"')) throw new Error(`exec ended with ${status.join('')}`);
  };
}
