/**
 * `kubectl port-forward` beside a plain TCP proxy in Node (two sockets, `pipe`), in turn: MiB/s of a download through each, by WebSocket and by SPDY. Aim: ≥ 200 MiB/s,
 * or ≥ 0.5 of the plain proxy.
 *
 * Then many at once: 200 port-forwards, each with a connection that answers, beside 100 followers of a log that grows; what the all-in-one process grew by. Aim: ≤ 150 MiB.
 * The clients speak to the API server from this process, since 300 kubectls would want 12 GiB.
 *
 *     .toolchain/bin/node test/bench/port-forward.ts
 */
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get } from 'node:https';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { parse } from 'yaml';
import { prepareKubectl, shell, watchRss } from './commands.ts';
import { benchInCluster, cpuSeconds, IMAGE, say, summarize } from './support.ts';

const MEBIBYTES = 512;
const ROUNDS = 5;
const FORWARDS = 200;
const FOLLOWERS = 100;
const SPDY = 'KUBECTL_PORT_FORWARD_WEBSOCKETS=false';
const SERVER = `head -c ${MEBIBYTES << 20} /dev/zero >/www/big; echo small >/www/small; (while sleep 1; do date; done) & exec httpd -f -p 8080 -h /www`;

if (process.argv[2] === 'proxy') await serveProxy(process.argv[3]!);
else
  await benchInCluster(import.meta.filename, async () => {
    await prepareKubectl();
    const container = { name: 'main', image: IMAGE, command: ['sh', '-c', `mkdir -p /www; ${SERVER}`] };
    const spec = { containers: [container], terminationGracePeriodSeconds: 1 };
    await shell(
      'kubectl apply -f -',
      JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web' }, spec }),
    );
    await shell('kubectl wait --for=condition=Ready pod/web --timeout=120s');
    const address = (await shell('kubectl get pod web -o jsonpath={.status.podIP}')).trim();
    await shell(`until curl -sf -o /dev/null http://${address}:8080/small; do sleep 0.2; done`);
    const daemon = Number(readFileSync('/run/berth/berth.pid', 'utf8'));
    // First, while the process is as small as it ever is.
    await many(daemon);
    await throughput(address, daemon);
  });

async function throughput(address: string, daemon: number): Promise<void> {
  const proxy = fork(import.meta.filename, ['proxy', address]);
  const [proxyPort] = (await once(proxy, 'message')) as [number];
  const forwards = [
    ['WebSocket', 7001, ''],
    ['SPDY', 7002, SPDY],
  ] as const;
  const children = forwards.map(([, port, env]) =>
    spawn('sh', ['-c', `${env} exec kubectl port-forward pod/web ${port}:8080 >/dev/null`], { stdio: 'inherit' }),
  );
  await sleep(2000);
  const speeds = new Map<string, number[]>();
  const cpu = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++)
    for (const [name, port] of [['plain TCP proxy', proxyPort], ...forwards] as [string, number][]) {
      const before = cpuSeconds(daemon);
      const bytesPerSecond = Number(
        await shell(`curl -sf -o /dev/null -w '%{speed_download}' http://127.0.0.1:${port}/big`),
      );
      speeds.set(name, [...(speeds.get(name) ?? []), bytesPerSecond / 2 ** 20]);
      cpu.set(name, [...(cpu.get(name) ?? []), cpuSeconds(daemon) - before]);
    }
  const plain = summarize(speeds.get('plain TCP proxy')!).p50;
  for (const [name, sample] of speeds) {
    const { min, p50, max } = summarize(sample);
    const ratio = name === 'plain TCP proxy' ? '' : `, ${(p50 / plain).toFixed(2)} of the plain proxy`;
    const spent = (summarize(cpu.get(name)!).p50 / MEBIBYTES) * 1024;
    say(
      `${name.padEnd(16)} ${p50.toFixed(0)} MiB/s (${min.toFixed(0)}–${max.toFixed(0)})${ratio}; berth's CPU ${spent.toFixed(2)} s a GiB`,
    );
  }
  for (const child of [...children, proxy]) {
    child.kill();
    await once(child, 'exit');
  }
}

async function serveProxy(address: string): Promise<void> {
  const server = createServer((client) => {
    const upstream = connect(8080, address);
    client.pipe(upstream);
    upstream.pipe(client);
    for (const socket of [client, upstream]) socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  process.send!((server.address() as AddressInfo).port);
}

async function many(daemon: number): Promise<void> {
  const { clusters, users } = parse(readFileSync(process.env['KUBECONFIG']!, 'utf8'));
  const server = clusters[0].cluster.server as string;
  const decode = (text: string) => Buffer.from(text, 'base64');
  const tls = {
    ca: decode(clusters[0].cluster['certificate-authority-data']),
    cert: decode(users[0].user['client-certificate-data']),
    key: decode(users[0].user['client-key-data']),
  };
  const open = async (path: string, protocol: string) => {
    const socket = new WebSocket(
      `${server.replace(/^http/, 'ws')}/api/v1/namespaces/default/pods/web/${path}`,
      protocol,
      tls,
    );
    await once(socket, 'open');
    return socket;
  };
  const rss = await watchRss([daemon]);
  const startMs = performance.now();
  const forwards: WebSocket[] = [];
  let answered = 0;
  for (let at = 0; at < FORWARDS; at++) {
    const socket = await open('portforward?ports=8080', 'v4.channel.k8s.io');
    let text = '';
    socket.on('message', (data: Buffer) => {
      if (data[0] !== 0) return;
      text += data.toString('latin1', 1);
      if (text.includes('small')) answered++;
    });
    socket.send(Buffer.concat([Buffer.from([0]), Buffer.from('GET /small HTTP/1.0\r\n\r\n')]));
    forwards.push(socket);
  }
  let followed = 0;
  const followers = Array.from({ length: FOLLOWERS }, () => {
    const url = `${server}/api/v1/namespaces/default/pods/web/log?follow=true`;
    const call = get(url, { ...tls, agent: false }, (answer) => {
      answer.once('data', () => followed++).resume();
    });
    return call.on('error', () => {});
  });
  await sleep(10_000);
  say(
    `${answered} of ${FORWARDS} port-forwards answered, ${followed} of ${FOLLOWERS} followers read, ${((performance.now() - startMs) / 1000).toFixed(0)} s; the process grew by ${rss.growthMebibytes().toFixed(0)} MiB (aim ≤ 150)`,
  );
  for (const socket of forwards) socket.terminate();
  for (const follower of followers) follower.destroy();
}
