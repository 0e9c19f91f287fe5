import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { renderNodeTargets, renderPrometheusConfig } from '../../../cli/monitoring/prometheus-config.ts';
import type { Node } from '../../../src/kube/types.ts';

test('the example is what the command writes for a cluster without flags', (t) => {
  const example = readFileSync(join(CHECKOUT, 'examples/prometheus/prometheus.yml'), 'utf8');
  t.is(example, renderPrometheusConfig({ apiPort: 6443, proxyMetricsPort: 10249, dnsMetricsPort: 9153 }));
});

test('targets are the internal addresses and the ports that the nodes tell', (t) => {
  const node = (name: string, addresses: [string, string][], port?: number) =>
    ({
      metadata: { name },
      status: {
        addresses: addresses.map(([type, address]) => ({ type, address })),
        ...(port && { daemonEndpoints: { kubeletEndpoint: { Port: port } } }),
      },
    }) as Node;
  const text = renderNodeTargets([
    node(
      'one',
      [
        ['Hostname', 'one'],
        ['InternalIP', '192.0.2.1'],
      ],
      10250,
    ),
    node('six', [['InternalIP', '2001:db8::6']], 10251),
    node('young', []),
  ]);
  t.deepEqual(JSON.parse(text), [
    { targets: ['192.0.2.1:10250'], labels: { node: 'one' } },
    { targets: ['[2001:db8::6]:10251'], labels: { node: 'six' } },
  ]);
});
