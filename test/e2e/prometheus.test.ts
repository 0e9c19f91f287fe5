/** A real Prometheus on the cluster's host, with the files that `berth prometheus` writes and nothing else. */
import test, { type ExecutionContext } from 'ava';
import type { Summary } from '../../agent/stats/summary.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { NGINX, pod, service } from '../support/manifests.ts';
import { type PrometheusPrograms, prometheusOrWhyNot } from '../support/prometheus.ts';
import {
  ASKED_OF_EVERY_NODE,
  firingAlerts,
  reasonsToAlert,
  recordedSeries,
  renderRules,
  silentAlerts,
} from '../support/prometheus-rules.ts';

const kubectl = await kubectlOrWhyNot();
const hostless = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const programs = hostless ? { skip: hostless } : await prometheusOrWhyNot();

const FOLDER = '/etc/berth-prometheus';
const LOG = '/var/log/prometheus.log';
const IDENTITY = `--cacert ${FOLDER}/ca.crt --cert ${FOLDER}/prometheus.crt --key ${FOLDER}/prometheus.key`;
/** The longest: one scrape interval of the file as it is, and the start. */
const SCRAPED_TIMEOUT_MS = 60_000;

/** What promtool finds wrong with names that upstream's dashboards and alerts ask for, so that they stay. */
const KNOWN_FINDINGS = new Map([
  ['kubelet_credential_provider_plugin_errors', 'a counter of kubelet without _total'],
  ['authentication_attempts', 'a counter of kube-apiserver without _total'],
  ['cadvisor_version_info', 'labels of cAdvisor in its own spelling'],
  ['container_fs_inodes_total', 'a gauge of cAdvisor: how many a file system has'],
  ['container_memory_failcnt', 'a counter of cAdvisor without _total'],
  ['kubelet_container_aligned_compute_resources_count', 'a counter of kubelet without _total'],
  ['kubelet_container_aligned_compute_resources_failure_count', 'a counter of kubelet without _total'],
  ['kubelet_cpu_manager_exclusive_cpu_allocation_count', 'a gauge of kubelet: CPUs that are given away'],
  ['kubelet_evictions', 'a counter of kubelet without _total'],
  ['kubelet_preemptions', 'a counter of kubelet without _total'],
  ['kubelet_topology_manager_admission_duration_ms', 'milliseconds, as kubelet has them'],
  ['kubelet_certificate_manager_client_expiration_renew_errors', 'a counter of kubelet without _total'],
  ['kubelet_server_expiration_renew_errors', 'a counter of kubelet without _total'],
  ['kubeproxy_sync_proxy_rules_iptables_total', 'a gauge of kube-proxy: the rules that stand'],
  ['kubeproxy_sync_proxy_rules_no_local_endpoints_total', 'a gauge of kube-proxy: the ports that have none'],
]);

let cluster: ClusterHost;

test.before(async () => {
  if ('skip' in programs) return;
  cluster = await createClusterHost('prometheus');
  await cluster.berthOk('up');
  await cluster.loadImages();
  const readinessProbe = { httpGet: { port: 80 }, periodSeconds: 1 };
  await cluster.apply(pod('web', { image: NGINX, readinessProbe }, {}, { labels: { app: 'web' } }));
  await cluster.apply(service('web', { app: 'web' }));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/web', '--timeout=60s');
  await cluster.berthOk('prometheus', FOLDER, '--owner', 'nobody');
});
test.after.always(() => cluster?.close());

function story(title: string, tell: (t: ExecutionContext, found: PrometheusPrograms) => Promise<unknown>): void {
  if ('skip' in programs) test.serial.skip(`${title} (${programs.skip})`, (t) => t.pass());
  else test.serial(title, async (t) => void (await tell(t, programs)));
}

/** Every endpoint with metrics; those behind a comma have no build's and process's own. */
const ENDPOINTS = {
  'control plane': () => `${IDENTITY} https://127.0.0.1:6443/metrics`,
  agent: () => `${IDENTITY} https://${cluster.address}:10250/metrics`,
  'agent, cadvisor': () => `${IDENTITY} https://${cluster.address}:10250/metrics/cadvisor`,
  'agent, resource': () => `${IDENTITY} https://${cluster.address}:10250/metrics/resource`,
  'agent, probes': () => `${IDENTITY} https://${cluster.address}:10250/metrics/probes`,
  'agent, health': () => `${IDENTITY} https://${cluster.address}:10250/metrics/slis`,
  proxy: () => 'http://127.0.0.1:10249/metrics',
  'proxy, health': () => 'http://127.0.0.1:10249/metrics/slis',
  'API server, health': () => `${IDENTITY} https://127.0.0.1:6443/metrics/slis`,
  DNS: () => 'http://127.0.0.1:9153/metrics',
};

for (const [name, address] of Object.entries(ENDPOINTS)) {
  story(`promtool finds nothing wrong with the metrics: ${name}`, async (t, { promtool }) => {
    const text = await cluster.sh(`curl -sSf -m 10 ${address()}`);
    const { code, stdout, stderr } = await cluster.try([promtool, 'check', 'metrics'], text);
    const findings = `${stdout}${stderr}`.split('\n').filter((line) => line && !isKnown(line));
    t.deepEqual(findings, []);
    t.true(code === 0 || code === 3, `exit code ${code}`);
    if (!name.includes(', ')) t.regex(text, /^kubernetes_build_info\{.*git_version="v1\.36/m);
  });
}

function isKnown(finding: string): boolean {
  return KNOWN_FINDINGS.has(finding.split(' ')[0] ?? '');
}

story('health on the ports of upstream', async (t) => {
  const paths = [
    'http://127.0.0.1:10248/healthz',
    'http://127.0.0.1:10249/healthz',
    'http://127.0.0.1:10256/healthz',
    'http://127.0.0.1:10256/livez',
    ...['healthz', 'livez', 'readyz'].map((path) => `${IDENTITY} https://127.0.0.1:6443/${path}`),
  ];
  for (const path of paths) t.is(await status(path), '200', path);
  t.is(await cluster.sh(`curl -s ${IDENTITY} https://127.0.0.1:6443/readyz`), 'ok');
  for (const [name, series] of [
    ['agent, health', 'kubernetes_healthcheck{name="syncloop",type="healthz"} 1'],
    ['proxy, health', 'kubernetes_healthcheck{name="ping",type="healthz"} 1'],
    ['API server, health', 'kubernetes_healthcheck{name="store",type="readyz"} 1'],
  ] as const)
    t.true((await cluster.sh(`curl -sSf ${ENDPOINTS[name]()}`)).includes(series), series);
});

story('the identity reads metrics and nodes, and nothing else', async (t) => {
  const agent = `https://${cluster.address}:10250`;
  const server = 'https://127.0.0.1:6443';
  const refused = ['/pods', '/healthz', '/configz', '/stats/summary', '/containerLogs/default/web/web'];
  for (const path of refused) t.is(await status(`${IDENTITY} ${agent}${path}`), '403', path);
  t.is(await status(`${IDENTITY} -X POST ${agent}/metrics`), '403');
  t.is(await status(`-k ${agent}/metrics`), '401');
  t.is(await status(`${IDENTITY} ${server}/api/v1/nodes`), '200');
  t.is(await status(`${IDENTITY} ${server}/api/v1/secrets`), '403');
  t.is(await status(`${IDENTITY} -X DELETE ${server}/api/v1/nodes/prometheus`), '403');
  t.is(await status(`-k ${server}/metrics`), '401');
  t.is((await cluster.sh(`stat -c '%U %a' ${FOLDER}/prometheus.key`)).trim(), 'nobody 600');
});

for (const [what, args, message] of [
  ['a user that is not there', [FOLDER, '--owner', 'nowhere-man'], /--owner nowhere-man: .*no such user/],
  ['a folder that is a file', ['/etc/passwd'], /\/etc\/passwd: .*EEXIST|ENOTDIR/],
  ['no cluster', [FOLDER, '--root-dir', '/srv/none'], /there is no cluster in \/srv\/none/],
] as const)
  story(`refused in a line: ${what}`, async (t) => {
    const before = await cluster.sh(`ls -l --time-style=full-iso ${FOLDER}`);
    const { code, stderr } = await cluster.berth('prometheus', ...args);
    t.is(code, 1);
    t.regex(stderr.trimEnd(), message);
    t.is(stderr.trim().split('\n').length, 1, stderr);
    t.is(await cluster.sh(`ls -l --time-style=full-iso ${FOLDER}`), before);
  });

story('recording rules and alerts, of the kind that clusters run with, find what they ask for', async (t, programs) => {
  await cluster.sh('mkdir -p /srv/small /srv/rules && mount -t tmpfs -o size=1m small /srv/small');
  await cluster.apply(...reasonsToAlert('prometheus'));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/busy', 'pod/hungry', '--timeout=60s');
  await cluster.try(['sh', '-c', 'cat >/srv/rules/rules.json'], renderRules());
  const { code, stderr } = await cluster.try([programs.promtool, 'check', 'rules', '/srv/rules/rules.json']);
  t.is(code, 0, stderr);
  // Impatient, and beside the other; else as it was written.
  await cluster.sh(
    `sed 's/scrape_interval: 15s/scrape_interval: 2s/; s#^scrape_configs:#rule_files: [/srv/rules/rules.json]\\nscrape_configs:#' ${FOLDER}/prometheus.yml >${FOLDER}/rules.yml`,
  );
  const flags = `--config.file=${FOLDER}/rules.yml --storage.tsdb.path=/srv/rules/data --web.listen-address=127.0.0.1:9091`;
  const prometheus = cluster.host.spawn(['sh', '-c', `exec ${programs.prometheus} ${flags} >/srv/rules/log 2>&1`], {
    stdio: 'ignore',
  });
  t.teardown(() => prometheus.kill());
  const missing = async () => {
    const { alerts } = await api<{ alerts: Alert[] }>('alerts', RULES_PORT).catch(() => ({ alerts: [] }));
    const firing = new Set(
      alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels['alertname'] ?? ''),
    );
    const silent = firingAlerts.filter((name) => !firing.has(name));
    // Only what rules record has a colon in its name.
    const recorded = await ask('count by (__name__) ({__name__=~".+:.+"})', RULES_PORT).catch(() => []);
    const names = new Set(recorded.map(({ metric }) => metric['__name__']));
    const empty = recordedSeries.filter((name) => !names.has(name));
    return { firing, lacking: [...silent, ...empty] };
  };
  let last: Awaited<ReturnType<typeof missing>> = { firing: new Set(), lacking: [] };
  await until(
    'every rule records and every alert with a reason fires',
    async () => {
      last = await missing();
      return last.lacking.length === 0;
    },
    2 * SCRAPED_TIMEOUT_MS,
  ).catch((error) => t.fail(`${error.message}: ${last.lacking.join(', ')}`));
  t.deepEqual(
    [...last.firing].filter((name) => silentAlerts.includes(name)),
    [],
  );
  for (const series of ASKED_OF_EVERY_NODE) t.true((await ask(series, RULES_PORT)).length > 0, series);
  const value = async (query: string) => Number((await ask(query, RULES_PORT))[0]?.value[1]);
  const cpu = await value('namespace_pod_container:cpu_seconds:rate{pod="busy",container="main",node="prometheus"}');
  // The first seconds of the 20 that are looked at may have been without it.
  t.true(cpu > 0.01 && cpu < 0.06, `a limit of 50m, and ${cpu} cores`);
  const both = await value('pod:cpu_seconds:rate{pod="busy"}');
  t.true(both > 0.01 && both < 0.08, `/metrics/resource says ${both}`);
  t.is(await value('count(ALERTS{alertname="ContainerIsThrottled",pod="web"}) or vector(0)'), 0);
  t.is(await value('kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="small"}'), 1 << 20);
  t.true((await value('sum(container_network_receive_bytes_total{pod="web",container="POD"})')) > 0);
  const { firing } = await missing();
  t.true(firing.has('VolumeAlmostFull'));
});

story('/stats/summary tells what node, pods and volumes use', async (t) => {
  const credentials = ['certificate', 'key'].map(
    (what) => `sed -n 's/.*client-${what}-data: //p' /var/lib/berth/kubeconfig | base64 -d >/srv/rules/admin.${what}`,
  );
  await cluster.sh(credentials.join('; '));
  const admin = `--cacert ${FOLDER}/ca.crt --cert /srv/rules/admin.certificate --key /srv/rules/admin.key`;
  const path = `https://${cluster.address}:10250/stats/summary`;
  const { node, pods }: Summary = JSON.parse(await cluster.sh(`curl -sSf ${admin} ${path}`));
  const of = (name: string) => pods.find(({ podRef }) => podRef.name === name)!;
  t.is(node.nodeName, 'prometheus');
  t.true(node.memory!.workingSetBytes! > 0 && node.memory!.availableBytes! > 0);
  t.true(node.fs!.availableBytes! > 0 && node.runtime!.imageFs!.usedBytes! > 0);
  t.true(node.rlimit!.curproc! > 0 && node.rlimit!.maxpid! > node.rlimit!.curproc!);
  t.is(node.systemContainers?.find(({ name }) => name === 'pods')?.name, 'pods');
  const busy = of('busy').containers[0]!;
  t.true(busy.cpu!.usageNanoCores! > 10e6 && busy.cpu!.usageNanoCores! < 70e6, `${busy.cpu!.usageNanoCores}`);
  t.is(busy.memory!.availableBytes! + busy.memory!.workingSetBytes!, 16 << 20);
  t.true(busy.rootfs!.usedBytes! >= 0 && busy.logs!.usedBytes! >= 0);
  const volume = of('hungry').volume!.find(({ name }) => name === 'data')!;
  t.deepEqual(volume.pvcRef, { namespace: 'default', name: 'small' });
  t.true(volume.usedBytes! > 900_000 && volume.capacityBytes === 1 << 20);
  const web = of('web');
  t.is(web.network?.name, 'eth0');
  t.true(web.network!.rxBytes! > 0);
  t.true(web['ephemeral-storage']!.usedBytes! > 0);
  t.true(web.process_stats!.process_count! >= 2);
  const short: Summary = JSON.parse(await cluster.sh(`curl -sSf ${admin} '${path}?only_cpu_and_memory=true'`));
  t.is(short.pods.length, pods.length);
  t.is(short.pods[0]?.network ?? short.node.fs, undefined);
});

interface Alert {
  labels: Record<string, string>;
  state: 'pending' | 'firing';
}

const RULES_PORT = 9091;

async function status(curlArguments: string): Promise<string> {
  return cluster.sh(`curl -s -m 10 -o /dev/null -w '%{http_code}' ${curlArguments}`);
}

story('Prometheus scrapes all of them, without a warning, and answers what dashboards ask', async (t, programs) => {
  await cluster.sh('mkdir /srv/prometheus');
  const flags = `--config.file=${FOLDER}/prometheus.yml --storage.tsdb.path=/srv/prometheus --web.listen-address=127.0.0.1:9090`;
  const prometheus = cluster.host.spawn(
    ['sh', '-c', `exec ${programs.prometheus} ${flags} --log.level=debug >${LOG} 2>&1`],
    { stdio: 'ignore' },
  );
  t.teardown(() => prometheus.kill());
  const pools = [
    'cadvisor',
    'kube-apiserver',
    'kube-dns',
    'kube-proxy',
    'kubelet',
    'kubelet-probes',
    'kubelet-resource',
  ];
  const targets = await until(
    'every target was scraped',
    async () => {
      const { activeTargets } = await api<{ activeTargets: Target[] }>('targets');
      const known = activeTargets.length === pools.length && activeTargets.every(({ health }) => health !== 'unknown');
      return known && activeTargets;
    },
    SCRAPED_TIMEOUT_MS,
  );
  t.deepEqual(
    targets.map(({ scrapePool, health, lastError }) => ({ scrapePool, health, lastError })).sort(byPool),
    pools.map((scrapePool) => ({ scrapePool, health: 'up', lastError: '' })),
  );
  const value = async (query: string) => Number((await ask(query))[0]?.value[1]);
  t.true((await value('kubelet_running_pods{job="kubelet"}')) >= 1);
  t.true((await value('kubeproxy_sync_proxy_rules_duration_seconds_count{job="kube-proxy"}')) >= 1);
  t.true((await value('sum(apiserver_request_total{job="kube-apiserver",code="200"})')) >= 10);
  t.true((await value('sum(prober_probe_total{pod="web",result="successful"})')) >= 1);
  t.true((await value('sum(coredns_dns_requests_total) or vector(0)')) >= 0);
  t.is(await value('count(kubelet_node_name{node="prometheus"} * on(node) group_left() kubelet_node_name)'), 1);
  // What the mixin's dashboards show of every component.
  for (const metric of [
    'rest_client_requests_total{code="200"}',
    'rest_client_request_duration_seconds_count',
    'process_resident_memory_bytes',
    'process_cpu_seconds_total',
    'process_start_time_seconds',
    'process_open_fds',
    'kubernetes_build_info',
  ]) {
    const jobs = (await ask(`count by (job) (${metric})`)).map((series) => series.metric.job).sort();
    t.deepEqual(jobs, ['kube-apiserver', 'kube-dns', 'kube-proxy', 'kubelet'], metric);
  }
  for (const metric of [
    'kubelet_running_containers{container_state="running"}',
    'kubelet_pod_start_duration_seconds_count',
    'kubelet_pod_worker_duration_seconds_count{operation_type="sync"}',
    'kubelet_pleg_relist_duration_seconds_count',
    'kubelet_pleg_relist_interval_seconds_count',
    'kubelet_runtime_operations_total{operation_type="start_container"}',
    'kubelet_cgroup_manager_duration_seconds_count{operation_type="update"}',
    'kubelet_certificate_manager_client_ttl_seconds',
    'kubelet_certificate_manager_server_ttl_seconds',
    'apiserver_request_sli_duration_seconds_count{scope="resource",verb="GET"}',
    'workqueue_adds_total{name="endpointslice-controller"}',
    'workqueue_queue_duration_seconds_count{name="endpointslice-controller"}',
    'scheduler_schedule_attempts_total{result="scheduled"}',
  ])
    t.true((await value(`sum(${metric})`)) > 0, metric);
  const log = await cluster.sh(`cat ${LOG}`);
  const warnings = log.split('\n').filter((line) => /level=(warn|error)|err=/.test(line));
  t.deepEqual(warnings, []);
});

interface Target {
  scrapePool: string;
  health: 'up' | 'down' | 'unknown';
  lastError: string;
}

const byPool = (one: { scrapePool: string }, other: { scrapePool: string }) =>
  one.scrapePool.localeCompare(other.scrapePool);

/** Prometheus' own API. */
async function api<T>(call: string, port = 9090): Promise<T> {
  const answer = JSON.parse(await cluster.sh(`curl -sS -m 10 'http://127.0.0.1:${port}/api/v1/${call}'`));
  if (answer.status !== 'success') throw new Error(`${call}: ${answer.error}`);
  return answer.data;
}

async function ask(
  query: string,
  port?: number,
): Promise<{ metric: Record<string, string>; value: [number, string] }[]> {
  return (await api<{ result: [] }>(`query?query=${encodeURIComponent(query).replaceAll("'", '%27')}`, port)).result;
}
