/**
 * Names in a cluster: what pods and the node resolve, how soon a new Service has its name, and that neither the daemon's end nor its
 * start costs anybody a query.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { EndpointSlice, KubeObject, Service } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { deployment, httpServer, pod, script, service } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;

const DOMAIN = 'svc.cluster.local';

let cluster: ClusterHost;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('dns');
  await cluster.berthOk('up');
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

story('up brings a DNS server of its own process behind kube-dns, and status shows it', async (t) => {
  const found = JSON.parse((await cluster.berthOk('status', '-o', 'json')).stdout);
  const dns = found.components.find(({ name }: { name: string }) => name === 'dns');
  t.true(dns.healthy);
  t.is(dns.pid, Number(await cluster.sh('cat /run/berth/dns.pid')));
  t.not(dns.pid, Number(await cluster.sh('cat /run/berth/berth.pid')));
  const kubeDns = await cluster.get<Service>('service', '-n', 'kube-system', 'kube-dns');
  t.is(kubeDns.spec.clusterIP, '10.96.0.10');
  const slice = await cluster.get<EndpointSlice>('endpointslice', '-n', 'kube-system', 'kube-dns');
  t.deepEqual(slice.endpoints?.[0]?.addresses, [cluster.address]);
  t.is(
    (await cluster.try(['sh', '-c', 'ss -Hlnu sport = :53; ss -Hlnt sport = :53'])).stdout,
    '',
    'port 53 stays free',
  );
});

story('a pod is told where to ask, and nobody misses a cluster DNS', async (t) => {
  await cluster.apply(
    deployment('web', 2, httpServer()),
    service('web', { app: 'web' }, { ports: [{ name: 'http', port: 80 }] }),
    service('peers', { app: 'peers' }, { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
    pod('one', httpServer(), { hostname: 'one', subdomain: 'peers' }, { labels: { app: 'peers' } }),
    pod('two', httpServer(), { hostname: 'two', subdomain: 'peers' }, { labels: { app: 'peers' } }),
    pod('asker', script('sleep 3600')),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'alias' },
      spec: { type: 'ExternalName', externalName: `web.default.${DOMAIN}` },
    },
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
  const { output } = await inAsker('cat /etc/resolv.conf');
  t.regex(output, /^search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local/m);
  t.regex(output, /^nameserver 10\.96\.0\.10$/m);
  t.regex(output, /^options ndots:5$/m);
  const events = await cluster.list<KubeObject & { reason: string }>('events', '-A');
  t.deepEqual(
    events.filter(({ reason }) => reason === 'MissingClusterDNS'),
    [],
  );
});

story('pods reach Services by short and by long names, over UDP and TCP', async (t) => {
  for (const name of ['web', 'web.default', 'web.default.svc', `web.default.${DOMAIN}`, 'alias']) {
    const { code, output } = await inAsker(`timeout 5 wget -q -O - http://${name}/`);
    t.is(code, 0, `${name}: ${output}`);
    t.regex(output, /^web-/);
  }
  t.is((await inAsker('echo | nc -w 2 10.96.0.10 53')).code, 0, 'TCP');
});

story('metrics are for this host alone: no pod reads what the cluster asks for', async (t) => {
  const metrics = await cluster.sh('curl -s http://127.0.0.1:9153/metrics');
  t.regex(metrics, /^coredns_dns_requests_total\{.*proto="udp".*type="A"\} [1-9]/m);
  for (const host of ['kube-dns.kube-system', cluster.address])
    t.not((await inAsker(`timeout 5 wget -q -O - http://${host}:9153/metrics`)).code, 0, host);
});

const lookups: [string, string, RegExp | (() => Promise<RegExp>)][] = [
  ['a', `kubernetes.default.${DOMAIN}`, /Address: 10\.96\.0\.1$/m],
  ['a', `KuBeRnEtEs.default.${DOMAIN}`, /Address: 10\.96\.0\.1$/m],
  ['srv', `_http._tcp.web.default.${DOMAIN}`, /service = 0 100 80 web\.default\.svc\.cluster\.local/],
  ['srv', `_http._tcp.peers.default.${DOMAIN}`, /service = 0 50 80 one\.peers\.default\.svc\.cluster\.local/],
  ['a', `one.peers.default.${DOMAIN}`, async () => new RegExp(`Address: ${await addressOf('one')}$`, 'm')],
  ['a', `peers.default.${DOMAIN}`, async () => new RegExp(`Address: ${await addressOf('two')}$`, 'm')],
  ['ptr', '1.0.96.10.in-addr.arpa', /name = kubernetes\.default\.svc\.cluster\.local/],
  ['a', `alias.default.${DOMAIN}`, /canonical name = web\.default\.svc\.cluster\.local/],
  ['a', '10-244-0-77.default.pod.cluster.local', /Address: 10\.244\.0\.77$/m],
  ['txt', 'dns-version.cluster.local', /1\.1\.0/],
  ['a', `nothing.default.${DOMAIN}`, /NXDOMAIN/],
  ['aaaa', `web.default.${DOMAIN}`, /No answer|can't find|^Address:.*10\.96\.0\.10/m],
];

for (const [type, name, expected] of lookups) {
  story(`a pod and the node look up ${name} (${type})`, async (t) => {
    const pattern = typeof expected === 'function' ? await expected() : expected;
    t.regex((await inAsker(`nslookup -type=${type} ${name}`)).output, pattern);
    const { stdout, stderr } = await cluster.try(['busybox', 'nslookup', `-type=${type}`, name, '10.96.0.10']);
    t.regex(stdout + stderr, pattern, 'on the node');
  });
}

story('the host name of a pod with a subdomain is one that others can look up', async (t) => {
  t.is((await cluster.inPod('one', 'hostname -f')).output.trim(), `one.peers.default.${DOMAIN}`);
  t.is((await inAsker('timeout 5 wget -q -O - http://two.peers/')).output.trim(), 'two');
});

story('a Service has its name soon after kubectl create returned (how soon is in the log)', async (t) => {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    await cluster.kubectl('create', 'service', 'clusterip', `fresh-${round}`, '--tcp=80');
    const startedMs = performance.now();
    await cluster.sh(
      `until busybox nslookup -type=a fresh-${round}.default.${DOMAIN} 10.96.0.10 >/dev/null 2>&1; do sleep 0.005; done`,
    );
    times.push(performance.now() - startedMs);
  }
  t.log(`ms, with the start of a shell in the host: ${times.map(Math.round).join(' ')}`);
  t.is(times.length, 5);
});

story('while the daemon is killed, and while it comes back, no query is lost', async (t) => {
  const asking = startAsking();
  await sleep(500);
  await cluster.sh('kill -KILL $(cat /run/berth/berth.pid)');
  await sleep(1000);
  const dnsPid = (await cluster.sh('cat /run/berth/dns.pid')).trim();
  await cluster.berthOk('up');
  await sleep(1500);
  await stopDaemon();
  await sleep(500);
  await cluster.berthOk('up');
  await sleep(500);
  const { asked, lost } = await asking.end();
  t.log(`${asked} queries, ${lost} lost`);
  t.true(asked > 50);
  t.is(lost, 0);
  t.is((await cluster.sh('cat /run/berth/dns.pid')).trim(), dnsPid, 'the same server all the time');
});

story('another build of the server takes over without losing a query', async (t) => {
  const before = (await cluster.sh('cat /run/berth/dns.pid')).trim();
  const asking = startAsking();
  await sleep(300);
  await stopDaemon();
  // Other arguments are reason enough for another server.
  await cluster.berthOk('up', '--dns-metrics-port', '9154');
  await until('another server', async () => (await cluster.sh('cat /run/berth/dns.pid')).trim() !== before);
  await until('the old one is gone', async () => (await cluster.try(['test', '-e', `/proc/${before}`])).code !== 0);
  const { asked, lost } = await asking.end();
  t.log(`${asked} queries, ${lost} lost`);
  t.is(lost, 0);
});

story('a killed server is back within seconds', async (t) => {
  await cluster.sh('kill -KILL $(cat /run/berth/dns.pid)');
  const startedMs = performance.now();
  await until(
    'names again',
    async () => (await inAsker(`nslookup -type=a kubernetes.default.${DOMAIN}`)).code === 0,
    10_000,
  );
  t.log(`${Math.round(performance.now() - startedMs)} ms`);
  t.pass();
});

story('down ends the server too', async (t) => {
  const pid = (await cluster.sh('cat /run/berth/dns.pid')).trim();
  await cluster.berthOk('down', '--purge');
  t.not((await cluster.try(['test', '-e', `/proc/${pid}`])).code, 0);
  t.is((await cluster.try(['sh', '-c', 'ss -Hlnu; pgrep -f "[m]js dns --kubeconfig"'])).stdout, '');
});

async function stopDaemon(): Promise<void> {
  await cluster.sh('kill -TERM $(cat /run/berth/berth.pid)');
  await until('the daemon is gone', async () => (await cluster.try(['test', '-e', '/run/berth/berth.pid'])).code !== 0);
}

function inAsker(text: string): Promise<{ code: number; output: string }> {
  return cluster.inPod('asker', text);
}

async function addressOf(name: string): Promise<string> {
  return cluster.kubectl('get', 'pod', name, '-o', 'jsonpath={.status.podIP}');
}

/** Looks names up on the node until told to end. A lost query counts: nslookup sends a second one only after 2.5 s, which is too late. */
function startAsking() {
  const program = `rm -f /tmp/enough; while [ ! -e /tmp/enough ]; do
    if busybox timeout 2 busybox nslookup -type=a kubernetes.default.${DOMAIN} 10.96.0.10 >/tmp/answer 2>&1 && ! grep -q "timed out\\|refused" /tmp/answer
    then echo ok; else echo lost; cat /tmp/answer >&2; fi
    sleep 0.01
  done`;
  const child: ChildProcess = cluster.host.spawn(['sh', '-c', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    output += chunk;
  });
  return {
    async end() {
      await cluster.sh('touch /tmp/enough');
      await ended;
      const lines = output.split('\n');
      return { asked: lines.filter(Boolean).length, lost: lines.filter((line) => line === 'lost').length };
    },
  };
}
