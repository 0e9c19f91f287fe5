import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';
import type { Peer } from './handler.ts';
import type { Query } from './query.ts';
import type { ForwarderObserver } from './upstream/forwarder.ts';
import { rcodeName, typeName } from './wire.ts';

/** CoreDNS' labels of a server block; there is one. */
const BLOCK = { server: 'dns://:53', zone: '.', view: '' };
const BLOCK_LABELS = ['server', 'zone', 'view'] as const;
const CACHE_BLOCK = { server: BLOCK.server, zones: '.', view: '' };
/** CoreDNS' buckets. */
const SECONDS_BUCKETS = Array.from({ length: 16 }, (_, index) => 0.00025 * 2 ** index);
const SIZE_BUCKETS = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3];
const PROGRAMMING_BUCKETS = Array.from({ length: 20 }, (_, index) => 0.001 * 2 ** index);

/** Metrics by CoreDNS' names, so that its dashboards and alerts hold; what has none there begins with `berth_dns`. */
export function createDnsMetrics(registry: Registry) {
  const registers = [registry];
  const requests = createTally(
    (collect) =>
      new Counter({
        name: 'coredns_dns_requests_total',
        help: 'Counter of DNS requests made per zone, protocol and family.',
        labelNames: [...BLOCK_LABELS, 'proto', 'family', 'type'],
        registers,
        collect,
      }),
  );
  const responses = createTally(
    (collect) =>
      new Counter({
        name: 'coredns_dns_responses_total',
        help: 'Counter of response status codes.',
        labelNames: [...BLOCK_LABELS, 'rcode', 'plugin'],
        registers,
        collect,
      }),
  );
  const duration = new Histogram({
    name: 'coredns_dns_request_duration_seconds',
    help: 'Histogram of the time (in seconds) each request took per zone.',
    labelNames: BLOCK_LABELS,
    buckets: SECONDS_BUCKETS,
    registers,
  });
  const [requestSize, responseSize] = (['request', 'response'] as const).map(
    (what) =>
      new Histogram({
        name: `coredns_dns_${what}_size_bytes`,
        help: `Size of the ${what === 'request' ? 'EDNS0 UDP buffer or message' : 'returned response'} in bytes.`,
        labelNames: [...BLOCK_LABELS, 'proto'],
        buckets: SIZE_BUCKETS,
        registers,
      }),
  ) as [Histogram, Histogram];
  const cacheHits = new Counter({
    name: 'coredns_cache_hits_total',
    help: 'The count of cache hits.',
    labelNames: ['server', 'type', 'zones', 'view'],
    registers,
  });
  const cacheMisses = new Counter({
    name: 'coredns_cache_misses_total',
    help: 'The count of cache misses.',
    labelNames: ['server', 'zones', 'view'],
    registers,
  });
  const exchanges = new Histogram({
    name: 'coredns_proxy_request_duration_seconds',
    help: 'Histogram of the time each request took.',
    labelNames: ['proxy_name', 'to', 'rcode'],
    buckets: SECONDS_BUCKETS,
    registers,
  });
  const rejects = new Counter({
    name: 'coredns_forward_max_concurrent_rejects_total',
    help: 'Counter of the number of queries rejected because the concurrent queries were at maximum.',
    registers,
  });
  const programming = new Histogram({
    name: 'coredns_kubernetes_dns_programming_duration_seconds',
    help: 'Histogram of the time (in seconds) it took to program a dns instance.',
    labelNames: ['service_kind'],
    buckets: PROGRAMMING_BUCKETS,
    registers,
  });
  const panics = new Counter({
    name: 'coredns_panics_total',
    help: 'A metrics that counts the number of panics.',
    registers,
  });
  const refused = new Counter({
    name: 'berth_dns_refused_messages_total',
    help: 'Messages that are no queries, or not from the cluster, by what is wrong with them.',
    labelNames: ['reason'],
    registers,
  });
  const sizeLabels = { udp: { ...BLOCK, proto: 'udp' }, tcp: { ...BLOCK, proto: 'tcp' } };
  const forwarding: ForwarderObserver = {
    cacheHit: (isDenial) => cacheHits.inc({ ...CACHE_BLOCK, type: isDenial ? 'denial' : 'success' }),
    cacheMiss: () => cacheMisses.inc(CACHE_BLOCK),
    exchanged: ({ address, port }, rcode, seconds) =>
      exchanges.observe({ proxy_name: 'forward', to: `${address}:${port}`, rcode }, seconds),
    rejected: () => rejects.inc(),
  };
  return {
    /** `plugin`: CoreDNS' name of the part that answered. */
    answered(query: Query, { transport, family }: Peer, answer: Buffer, seconds: number, plugin: string): void {
      const { type } = query;
      const rcode = answer[3]! & 0xf;
      requests.add(`${transport} ${family} ${type}`, () => ({
        ...BLOCK,
        proto: transport,
        family: String(family === 4 ? 1 : 2),
        type: typeName(type),
      }));
      responses.add(`${rcode} ${plugin}`, () => ({ ...BLOCK, rcode: rcodeName(rcode), plugin }));
      duration.observe(BLOCK, seconds);
      requestSize.observe(sizeLabels[transport], query.message.length);
      responseSize.observe(sizeLabels[transport], answer.length);
    },
    refused: (reason: string) => refused.inc({ reason }),
    failed: () => panics.inc(),
    programmed: (seconds: number) => programming.observe({ service_kind: 'headless_with_selector' }, seconds),
    forwarding,
    /** Values that are asked for when somebody scrapes. */
    gauges(ask: { cacheEntries(): number; names(): number; loop(): boolean }): void {
      new Gauge({
        name: 'coredns_cache_entries',
        help: 'The number of elements in the cache.',
        labelNames: ['server', 'type', 'zones', 'view'],
        registers,
        collect() {
          this.set({ ...CACHE_BLOCK, type: 'success' }, ask.cacheEntries());
        },
      });
      new Gauge({
        name: 'berth_dns_names',
        help: 'Names in the zone of the cluster.',
        registers,
        collect() {
          this.set(ask.names());
        },
      });
      new Gauge({
        name: 'berth_dns_forward_loop',
        help: "1 while the host's name servers ask this server in turn and nothing is forwarded.",
        registers,
        collect() {
          this.set(ask.loop() ? 1 : 0);
        },
      });
    },
  };
}

export type DnsMetrics = ReturnType<typeof createDnsMetrics>;

/** A counter that costs a map look-up on the hot path: labels are made, and sums handed over, when somebody scrapes. */
function createTally(define: (collect: () => void) => Counter) {
  const sums = new Map<string, { labels: Record<string, string>; pending: number }>();
  const counter = define(() => {
    for (const sum of sums.values()) {
      if (sum.pending > 0) counter.inc(sum.labels, sum.pending);
      sum.pending = 0;
    }
  });
  return {
    add(key: string, labels: () => Record<string, string>): void {
      const sum = sums.get(key);
      if (sum) sum.pending++;
      else sums.set(key, { labels: labels(), pending: 1 });
    },
  };
}
