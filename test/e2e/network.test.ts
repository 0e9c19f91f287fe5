/**
 * The pod network and Services, seen from pods, from the node and from another host; and that nothing which belongs inside ever leaves.
 *
 *     pods ── cni0 ── [ host "net" ] ── eth0 ── switch ── eth0 ── [ host "router" ], the default gateway, which counts
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import type { End } from '../../proxy/trace/ends.ts';
import type { Pod, Service } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { deployment, pod, script, service } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;

/** Addresses that no Service and no pod has, in both ranges; 10.244.0.x lies in the node's own part. */
const NOBODY = ['10.96.0.77', '10.100.1.2', '10.111.255.254', '10.244.0.250', '10.244.3.4', '10.244.255.1'];
/** TCP, UDP and ICMP to each of them, all at once. */
const KNOCK = `${NOBODY.map((ip) => `(busybox nc -w 1 ${ip} 80 </dev/null; timeout 1 busybox tftp -g -r x -l /dev/null ${ip} 53; busybox ping -c 1 -W 1 ${ip}) >/dev/null 2>&1 &`).join('\n')}
wait`;
/** Serves the address that its visitor comes from at /cgi-bin/from, and its host name at /. */
const SERVER = script(`mkdir -p /www/cgi-bin; hostname >/www/index.html
printf '#!/bin/sh\\necho\\necho $REMOTE_ADDR\\n' >/www/cgi-bin/from; chmod +x /www/cgi-bin/from
exec httpd -f -p 0.0.0.0:80 -h /www`);

let cluster: ClusterHost;
let router: Host;
let routerAddress: string;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('net');
  router = await createHost('router');
  routerAddress = await cluster.net.plug(router);
  await cluster.sh(`ip route add default via ${routerAddress}`);
  const inside = 'ip daddr { 10.96.0.0/12, 10.244.0.0/16 } counter';
  await cluster.sh(
    `nft 'table ip e2e { chain out { type filter hook postrouting priority 500; oifname eth0 ${inside}; }; }'`,
  );
  const rules = `table netdev e2e { chain in { type filter hook ingress device eth0 priority -500; ${inside}; ip daddr 203.0.113.0/24 counter; }; }`;
  await onRouter(`nft '${rules}'`);
  await cluster.berthOk('up');
  await cluster.loadImages();
});
test.after.always(async () => {
  await router?.close();
  await cluster?.close();
});

story('the counters count: a packet to elsewhere goes to the router', async (t) => {
  await cluster.sh('busybox ping -c 1 -W 1 203.0.113.7 || true');
  const { stdout } = await router.run(['nft', 'list', 'table', 'netdev', 'e2e']);
  t.regex(stdout, /203\.0\.113\.0\/24 counter packets [1-9]/);
});

story('who asks for what is not there is told at once', async (t) => {
  await cluster.apply(pod('knocker', { command: ['sleep', '3600'] }));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/knocker', '--timeout=60s');
  for (const ask of [onNode, inKnocker]) {
    const refused = await ask('busybox nc -w 5 10.96.0.77 80 </dev/null');
    t.regex(refused.output, /refused/);
    t.regex((await ask('busybox nc -w 5 10.244.3.4 80 </dev/null')).output, /unreachable|No route/i);
    t.not((await ask('busybox ping -c 1 -W 2 10.96.0.77')).code, 0);
  }
});

story('before there is any Service, nothing leaves', async (t) => {
  await nothingLeaves(t);
});

story('pods reach each other by their own addresses, the node reaches pods and pods the node', async (t) => {
  await cluster.apply(
    pod('one', SERVER, {}, { labels: { app: 'one' } }),
    pod('two', SERVER, {}, { labels: { app: 'two' } }),
    pod(
      'on-node',
      {
        ...SERVER,
        command: [...SERVER.command.slice(0, 2), SERVER.command[2]!.replace('0.0.0.0:80', '0.0.0.0:18080')],
      },
      { hostNetwork: true },
    ),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/one', 'pod/two', 'pod/on-node', '--timeout=60s');
  const one = await addressOf('one');
  const two = await addressOf('two');
  t.is(await asked('one', `http://${two}/cgi-bin/from`), one);
  t.is(await asked('two', `http://${one}/`), 'one');
  t.is((await cluster.sh(`curl -sf http://${two}/`)).trim(), 'two');
  t.is(await asked('one', `http://${cluster.address}:18080/cgi-bin/from`), one);
  t.is(await asked('one', `http://127.0.0.1/`), 'one');
  t.is((await cluster.inPod('one', `ping -c 1 -W 2 ${two}`)).code, 0);
});

story('what pods ask of the world outside comes from the node', async (t) => {
  await onRouter(
    `mkdir -p /tmp/www/cgi-bin; printf '#!/bin/sh\\necho\\necho $REMOTE_ADDR\\n' >/tmp/www/cgi-bin/from; chmod +x /tmp/www/cgi-bin/from; busybox httpd -p 0.0.0.0:8080 -h /tmp/www`,
  );
  t.is(await asked('one', `http://${routerAddress}:8080/cgi-bin/from`), cluster.address);
});

story('a ClusterIP answers pods and the node; a pod behind it sees who asks, and reaches itself', async (t) => {
  await cluster.apply(
    service(
      'one',
      { app: 'one' },
      {
        ports: [
          { name: 'http', port: 8000, targetPort: 80 },
          { name: 'echo', protocol: 'UDP', port: 53, targetPort: 5353 },
        ],
      },
    ),
  );
  const ip = await clusterIp('one');
  await until('the Service answers', async () => (await onNode(`curl -sf http://${ip}:8000/`)).output.trim() === 'one');
  t.is(await asked('two', `http://${ip}:8000/cgi-bin/from`), await addressOf('two'));
  t.is(await asked('one', `http://${ip}:8000/`), 'one');
  const echo = await udpEcho('one', 5353);
  t.is(await udpAnswer(ip, 'two'), 'got hello');
  t.is(await udpAnswer(ip), 'got hello');
  echo.kill();
  const environment = await cluster.inPod('two', 'env');
  t.notRegex(environment.output, /ONE_SERVICE_HOST/, 'the Service came after the pod');
  t.regex(environment.output, /^KUBERNETES_SERVICE_HOST=10\.96\.0\.1$/m);
});

story('connections spread over all pods of a Service', async (t) => {
  await cluster.apply(
    deployment('many', 3, SERVER),
    service('many', { app: 'many' }, { type: 'NodePort', ports: [{ port: 80, nodePort: 30180 }] }),
  );
  await cluster.kubectl('rollout', 'status', 'deployment/many', '--timeout=60s');
  const ip = await clusterIp('many');
  const seen = await until('all three', async () => {
    const names = await cluster.sh(`for i in $(seq 30); do curl -sf http://${ip}/; done | sort -u`);
    return names.trim().split('\n').length === 3 && names;
  });
  t.truthy(seen);
});

story('a NodePort answers another host, the node itself and pods', async (t) => {
  const url = `http://${cluster.address}:30180/`;
  t.regex(await onRouter(`curl -sf --max-time 5 ${url}`), /^many-/);
  t.regex((await onNode(`curl -sf --max-time 5 ${url}`)).output, /^many-/);
  t.regex(await asked('two', url), /^many-/);
});

story('while Services exist, nothing leaves; a Service without pods refuses', async (t) => {
  await cluster.apply(
    service('empty', { app: 'nobody' }, { type: 'NodePort', ports: [{ port: 80, nodePort: 30181 }] }),
  );
  const ip = await clusterIp('empty');
  await until('it refuses', async () => /refused/i.test((await onNode(`busybox nc -w 3 ${ip} 80 </dev/null`)).output));
  t.regex((await inKnocker(`nc -w 3 ${ip} 80 </dev/null`)).output, /refused/i);
  t.not((await router.run(['curl', '-s', '--max-time', '3', `http://${cluster.address}:30181/`])).code, 0);
  // A port that the Service does not have.
  await onNode(`busybox nc -w 1 ${ip} 81 </dev/null; busybox ping -c 1 -W 1 ${ip}`);
  await inKnocker(`nc -w 1 ${await clusterIp('many')} 81 </dev/null; ping -c 1 -W 1 ${await clusterIp('many')}`);
  await nothingLeaves(t);
});

story('berth proxy trace shows where packets go, why, and who else stands in their way', async (t) => {
  const trace = async (...args: string[]) =>
    JSON.parse(await cluster.berthOk('proxy', 'trace', ...args, '-o', 'json').then(({ stdout }) => stdout));
  const spread = await trace('many:80', '--from', 'two');
  t.like(spread, { mode: 'iptables', service: { name: 'many', at: 'ClusterIP' }, live: { differences: [] }, gaps: [] });
  t.deepEqual(
    spread.ends.map(({ verdict, isMasqueraded, probability }: End) => [verdict, isMasqueraded, probability.toFixed(2)]),
    Array(3).fill(['ACCEPT', false, '0.33']),
  );
  t.true(spread.lastSyncAgeSeconds > 0);
  const nobody = await cluster.berthOk('proxy', 'trace', 'empty:80');
  t.regex(nobody.stdout, /100 % +refused.*there is no endpoint for port 80\/TCP.*the same ends/s);
  const [blocked] = spread.ends[0].destination.split(':');
  await cluster.sh(`iptables -I FORWARD -d ${blocked} -j DROP`);
  const hindered = await cluster.berthOk('proxy', 'trace', 'many:80', '--from', 'default/two');
  await cluster.sh(`iptables -D FORWARD -d ${blocked} -j DROP`);
  t.regex(hindered.stdout, new RegExp(`also lead to: dropped \\(by filter FORWARD: -d ${blocked}/32 -j DROP\\)`));
  for (const [destination, why] of [
    ['nobody:80', /there is no Service nobody in namespace default/],
    ['many:81', /whose ports are 80\/TCP, not 81\/TCP/],
  ] as const) {
    const { stdout, stderr } = await cluster.berth('proxy', 'trace', destination);
    t.regex(stdout + stderr, why);
  }
});

story('/debug/berth tells the same to those whom the API server lets read it', async (t) => {
  const { proxyMetricsPort } = JSON.parse(await cluster.sh('cat /var/lib/berth/settings.json'));
  const url = `http://127.0.0.1:${proxyMetricsPort}/debug/berth/services/default/many?kernel=true`;
  const code = async (...args: string[]) =>
    (await cluster.try(['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', ...args, url])).stdout;
  const as = async (namespace: string) =>
    `Authorization: Bearer ${(await cluster.kubectl('create', 'token', 'default', '-n', namespace)).trim()}`;
  t.is(await code(), '401');
  t.is(await code('-H', 'Authorization: Bearer nonsense'), '401');
  t.is(await code('-H', await as('default')), '403');
  const report = JSON.parse(await cluster.sh(`curl -sf -H '${await as('kube-system')}' '${url}'`));
  const [ipv4] = report.families;
  t.true(ipv4.lastSync.ageSeconds > 0);
  t.is(ipv4.ports[0].endpoints.length, 3);
  t.deepEqual([...new Set(ipv4.ports[0].traces.map(({ from }: { from: string }) => from))], ['pod', 'node', 'outside']);
  t.deepEqual(
    ipv4.ports[0].traces.flatMap(({ live }: { live: { differences: string[] } }) => live.differences),
    [],
  );
});

story('after Services and pods are gone, their addresses lead nowhere', async (t) => {
  const addresses = [await clusterIp('one'), await clusterIp('many'), await clusterIp('empty'), await addressOf('two')];
  await cluster.kubectl('delete', 'service', 'one', 'many', 'empty');
  await cluster.kubectl('delete', 'deployment', 'many');
  await cluster.kubectl('delete', 'pod', 'two');
  const knock = addresses
    .map((ip) => `(busybox nc -w 1 ${ip} 80 </dev/null; busybox nc -w 1 ${ip} 8000 </dev/null) &`)
    .join('\n');
  await onNode(`${knock}\nwait`);
  await inKnocker(`${knock}\nwait`);
  await until('the old address refuses', async () =>
    /refused/i.test((await onNode(`busybox nc -w 3 ${addresses[0]} 8000 </dev/null`)).output),
  );
  await nothingLeaves(t);
});

story('while the daemon is dead, nothing leaves; when it comes back, neither', async (t) => {
  await cluster.sh('kill -KILL $(cat /run/berth/berth.pid)');
  const id = [...(await cluster.containers())].find(([name]) => name.startsWith('k8s_main_knocker_'))?.[1].id ?? '';
  await onNode(KNOCK);
  await cluster.engine().execInContainer(id, ['sh', '-c', KNOCK], { maxOutputBytes: 1000 });
  t.deepEqual(await leaked(), [0, 0]);
  const knocking = cluster.sh(`for i in 1 2 3; do ${KNOCK}\ndone`);
  await cluster.berthOk('up');
  await knocking;
  t.deepEqual(await leaked(), [0, 0]);
});

/** Knocks at every address that nobody has, from the node and from a pod; no packet may have come to the uplink. */
async function nothingLeaves(t: ExecutionContext): Promise<void> {
  await Promise.all([onNode(KNOCK), inKnocker(KNOCK)]);
  t.deepEqual(await leaked(), [0, 0]);
}

/** Packets to the cluster's ranges: on our uplink, and at the router. */
async function leaked(): Promise<number[]> {
  const ours = await cluster.sh('nft list table ip e2e');
  const theirs = await onRouter('nft list table netdev e2e');
  return [ours, theirs].map((text) => Number(/10\.96\.0\.0\/12.*counter packets (\d+)/.exec(text)?.[1]));
}

async function onNode(text: string): Promise<{ code: number; output: string }> {
  const { code, stdout, stderr } = await cluster.try(['sh', '-c', text]);
  return { code, output: stdout + stderr };
}

function inKnocker(text: string): Promise<{ code: number; output: string }> {
  return cluster.inPod('knocker', text);
}

async function onRouter(text: string): Promise<string> {
  const { code, stdout, stderr } = await router.run(['sh', '-euc', text], { timeoutMs: 30_000 });
  if (code !== 0) throw new Error(`router: ${text} exited ${code}: ${stderr}`);
  return stdout;
}

/** A program that enters the network of a pod; busybox has none that speaks UDP. */
async function inNetworkOf(podName: string, code: string): Promise<string[]> {
  const container = [...(await cluster.containers())].find(([name]) => name.startsWith(`k8s_main_${podName}_`))?.[1];
  return ['nsenter', `--net=/proc/${container?.pid}/ns/net`, process.execPath, '-e', code];
}

/** Answers `got …` to what comes to a UDP port of a pod, until killed. */
async function udpEcho(podName: string, port: number): Promise<ChildProcess> {
  const code = `const socket = require('node:dgram').createSocket('udp4');
    socket.on('message', (data, from) => socket.send('got ' + data, from.port, from.address));
    socket.bind(${port}, () => console.log('ready'));`;
  const child = cluster.host.spawn(await inNetworkOf(podName, code), { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  return child;
}

/** What comes back for `hello` by UDP from port 53, asked from the node or from a pod's network. */
async function udpAnswer(ip: string, podName?: string): Promise<string> {
  const code = `const socket = require('node:dgram').createSocket('udp4');
    socket.on('message', (data) => { process.stdout.write(data); socket.close(); });
    socket.send('hello', 53, '${ip}');
    setTimeout(() => process.exit(1), 5000).unref();`;
  const argv = podName === undefined ? [process.execPath, '-e', code] : await inNetworkOf(podName, code);
  return (await cluster.try(argv)).stdout.trim();
}

/** What a pod gets from a URL. */
async function asked(name: string, url: string): Promise<string> {
  return (await cluster.inPod(name, `timeout 5 wget -q -O - ${url} 2>&1`)).output.trim();
}

async function addressOf(name: string): Promise<string> {
  return (await cluster.get<Pod>('pod', name)).status?.podIP ?? '';
}

async function clusterIp(name: string): Promise<string> {
  return (await cluster.get<Service>('service', name)).spec?.clusterIP ?? '';
}
