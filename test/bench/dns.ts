/**
 * Names of 5,000 Services, asked from a pod by dnsperf, and the same names of a plain dnsmasq on the same node behind a Service of the
 * same kind; one of each in turn, in one run.
 *
 *   speed    as many lookups as go; per second, and per second of the server's own CPU time ("on one core")
 *   latency  at 10,000 lookups a second
 *   new      POST of a Service to the API server → its name is answered
 *
 *     .toolchain/bin/node test/bench/dns.ts
 *
 * dnsperf, dnsmasq and their libraries are Debian's, unpacked beside the system.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { libraryClosure, unpackPackages } from '../../cli/debian/packages.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { endpointSlices, nodes, pods, services } from '../../src/kube/resources.ts';
import { run } from '../../src/linux/exec.ts';
import { answersOf, askUdp, question } from '../support/dns.ts';
import { berth, CHECKOUT, continueInside, line, withHost } from './support.ts';

const SERVICES = 5000;
const ROUNDS = 3;
const ROUND_SECONDS = 5;
const RATE = 10_000;
const NEW_SERVICES = 20;
const TOOLS = join(CHECKOUT, '.toolchain/bench-dns');
const PACKAGES = ['dnsperf', 'dnsmasq-base'];
const DNSMASQ = { port: 10_054, address: '10.96.0.11' };
const NAMES = '/tmp/names';

if (process.argv[2] === 'inside') await inside();
else {
  if (!existsSync(join(TOOLS, 'usr/bin/dnsperf'))) {
    const libraries = (await libraryClosure(PACKAGES)).filter((name) => !/^libc6$|^libgcc/.test(name));
    await unpackPackages([...PACKAGES, ...libraries], TOOLS);
  }
  await withHost('bench-dns', async (host) => {
    await berth(host, 'up');
    await berth(host, 'demo');
    await continueInside(host, import.meta.filename);
    await berth(host, 'down');
  });
}

interface Server {
  name: string;
  address: string;
  pid: number;
}

async function inside(): Promise<void> {
  const client = createKubeClient(loadKubeconfig('/var/lib/berth/kubeconfig', { userAgent: 'bench' }));
  const nodeIp = (await client.list(nodes)).items[0]?.status?.addresses?.[0]?.address ?? '';
  await createServices(client, nodeIp);
  const netns = await podNetns(client);
  const servers: Server[] = [
    { name: 'berth', address: '10.96.0.10', pid: Number(readFileSync('/run/berth/dns.pid', 'utf8')) },
    { name: 'dnsmasq', address: DNSMASQ.address, pid: await startDnsmasq(nodeIp) },
  ];
  for (const { address } of servers) await untilAnswered(address, `service-${SERVICES - 1}`);

  const speed = new Map(servers.map(({ name }) => [name, { perSecond: [] as number[], perCpuSecond: [] as number[] }]));
  const p99 = new Map(servers.map(({ name }) => [name, [] as number[]]));
  for (let round = 0; round < ROUNDS; round++)
    for (const server of servers) {
      const before = cpuSeconds(server.pid);
      const { answered, perSecond } = await dnsperf(netns, server, []);
      speed.get(server.name)!.perSecond.push(perSecond);
      speed.get(server.name)!.perCpuSecond.push(answered / (cpuSeconds(server.pid) - before));
      const paced = await dnsperf(netns, server, ['-Q', String(RATE), '-v']);
      p99.get(server.name)!.push(paced.p99Ms);
      if (paced.lost > 0) say(`${server.name}: ${paced.lost} of ${paced.answered} lost at ${RATE}/s`);
    }
  for (const { name } of servers) {
    say(line(`${name}: lookups from a pod`, speed.get(name)!.perSecond, '/s'));
    say(line(`${name}: lookups per second of its CPU time`, speed.get(name)!.perCpuSecond, '/s'));
    say(line(`${name}: p99 at ${RATE}/s`, p99.get(name)!));
  }
  const best = (values: number[]) => Math.max(...values);
  const ratio = best(speed.get('berth')!.perSecond) / best(speed.get('dnsmasq')!.perSecond);
  say(`ratio of lookups per second, best rounds, berth : dnsmasq: ${ratio.toFixed(2)}`);
  const p99Ratio = Math.min(...p99.get('berth')!) / Math.min(...p99.get('dnsmasq')!);
  say(`ratio of p99, best rounds, berth : dnsmasq: ${p99Ratio.toFixed(2)}`);

  const fresh: number[] = [];
  for (let index = 0; index < NEW_SERVICES; index++) {
    await client.create(services, serviceDraft(`fresh-${index}`), { namespace: 'default' });
    const startedMs = performance.now();
    await untilAnswered('10.96.0.10', `fresh-${index}`);
    fresh.push(performance.now() - startedMs);
  }
  say(line('create returned → the name is answered', fresh));
  process.kill(servers[1]!.pid);
  await client.close();
}

function serviceDraft(name: string) {
  return { metadata: { name }, spec: { ports: [{ name: 'http', port: 80, protocol: 'TCP' as const }] } } as never;
}

/** The Services, the file of questions, dnsmasq's records of the same, and a Service that leads to it. */
async function createServices(client: KubeClient, nodeIp: string): Promise<void> {
  const records: string[] = [];
  for (let index = 0; index < SERVICES; index++) {
    const made = await client.create(services, serviceDraft(`service-${index}`), { namespace: 'default' });
    records.push(`host-record=service-${index}.default.svc.cluster.local,${made.spec.clusterIP}`);
  }
  writeFileSync('/tmp/dnsmasq.conf', `${records.join('\n')}\n`);
  const names = records.map((_, index) => `service-${index}.default.svc.cluster.local A`);
  writeFileSync(NAMES, `${names.join('\n')}\n`);
  const port = { name: 'dns', protocol: 'UDP' as const, port: 53 };
  await client.create(
    services,
    { metadata: { name: 'dnsmasq' }, spec: { clusterIP: DNSMASQ.address, ports: [port] } } as never,
    { namespace: 'default' },
  );
  await client.create(
    endpointSlices,
    {
      metadata: { name: 'dnsmasq', labels: { 'kubernetes.io/service-name': 'dnsmasq' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [nodeIp], conditions: { ready: true } }],
      ports: [{ ...port, port: DNSMASQ.port }],
    } as never,
    { namespace: 'default' },
  );
}

async function startDnsmasq(nodeIp: string): Promise<number> {
  const flags = ['-C', '/tmp/dnsmasq.conf', '-p', String(DNSMASQ.port), '-a', nodeIp, '--bind-interfaces'];
  const plain = ['--no-resolv', '--no-hosts', '--user=root', '--pid-file=/tmp/dnsmasq.pid'];
  await run('env', [`LD_LIBRARY_PATH=${libraries()}`, join(TOOLS, 'usr/sbin/dnsmasq'), ...flags, ...plain]);
  return Number(readFileSync('/tmp/dnsmasq.pid', 'utf8'));
}

function libraries(): string {
  return join(TOOLS, `usr/lib/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`);
}

/** The network namespace of one of the demo's pods. */
async function podNetns(client: KubeClient): Promise<string> {
  const pod = (await client.list(pods, { namespace: 'default' })).items[0];
  const id = pod?.status?.containerStatuses?.[0]?.containerID?.replace('docker://', '') ?? '';
  const docker = connectDocker('unix:///run/berth/docker.sock');
  const { pid } = await docker.inspectContainer(id);
  docker.close();
  return `/proc/${pid}/ns/net`;
}

async function dnsperf(netns: string, { address }: Server, flags: string[]) {
  const program = [`LD_LIBRARY_PATH=${libraries()}`, join(TOOLS, 'usr/bin/dnsperf')];
  const { stdout } = await run(
    'env',
    [...program, '-s', address, '-d', NAMES, '-l', String(ROUND_SECONDS), '-c', '20', ...flags],
    { netns, timeoutMs: 60_000 },
  );
  const number = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1]);
  const latencies = [...stdout.matchAll(/^> NOERROR .* ([\d.]+)$/gm)].map(([, seconds]) => Number(seconds) * 1000);
  latencies.sort((one, other) => one - other);
  return {
    answered: number(/Queries completed:\s+(\d+)/),
    lost: number(/Queries lost:\s+(\d+)/),
    perSecond: number(/Queries per second:\s+([\d.]+)/),
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
  };
}

async function untilAnswered(address: string, name: string): Promise<void> {
  const message = question(`${name}.default.svc.cluster.local`, 'A');
  const deadline = performance.now() + 120_000;
  for (;;) {
    const answers = await askUdp(53, message, { address, timeoutMs: 500 }).then(answersOf, () => []);
    if (answers.length > 0) return;
    if (performance.now() > deadline) throw new Error(`${address} does not know ${name}`);
    await sleep(1);
  }
}

/** User and system time; clock ticks are 1/100 s on Linux. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
