import test from 'ava';
import { categorizeEndpoints } from '../../../proxy/state/categorize.ts';
import { type EndpointSpec, NODE_NAME, serviceOf, sliceOf, snapshotOf } from '../../support/proxy.ts';

const here = (ip: string, more: Partial<EndpointSpec> = {}): EndpointSpec => ({ ip, ...more });
const away = (ip: string, more: Partial<EndpointSpec> = {}): EndpointSpec => ({ ip, nodeName: 'node-2', ...more });
const LEAVING = { conditions: { ready: false, serving: true, terminating: true } };
const GONE = { conditions: { ready: false, serving: false, terminating: true } };
const zone = (name: string) => ({ hints: { forZones: [{ name }] } });
const node = (name: string) => ({ hints: { forNodes: [{ name }] } });

const CLUSTER = {};
const INTERNAL_LOCAL = { internalTrafficPolicy: 'Local' };
const EXTERNAL_LOCAL = { type: 'NodePort', externalTrafficPolicy: 'Local', ports: [{ port: 80, nodePort: 30080 }] };

type Expected = { cluster: string; local: string; reachable: string; hasAny: boolean };
const CASES: [what: string, spec: object, endpoints: EndpointSpec[], expected: Expected][] = [
  ['no endpoints', CLUSTER, [], { cluster: '', local: '', reachable: '', hasAny: false }],
  ['all ready', CLUSTER, [here('1'), away('2')], { cluster: '1 2', local: '', reachable: '1 2', hasAny: true }],
  [
    'an unready one is left out',
    CLUSTER,
    [here('1'), away('2', { conditions: { ready: false } })],
    { cluster: '1', local: '', reachable: '1', hasAny: true },
  ],
  [
    'a leaving one while others are ready',
    CLUSTER,
    [here('1'), away('2', LEAVING)],
    { cluster: '1', local: '', reachable: '1', hasAny: true },
  ],
  [
    'only leaving ones',
    CLUSTER,
    [here('1', LEAVING), away('2', GONE)],
    { cluster: '1', local: '', reachable: '1', hasAny: true },
  ],
  [
    'internal Local, one here',
    INTERNAL_LOCAL,
    [here('1'), away('2')],
    { cluster: '', local: '1', reachable: '1', hasAny: true },
  ],
  ['internal Local, none here', INTERNAL_LOCAL, [away('2')], { cluster: '', local: '', reachable: '', hasAny: true }],
  [
    'internal Local, only a leaving one here',
    INTERNAL_LOCAL,
    [here('1', LEAVING), away('2')],
    { cluster: '', local: '1', reachable: '1', hasAny: true },
  ],
  [
    'external Local needs both lists',
    EXTERNAL_LOCAL,
    [here('1'), away('2')],
    { cluster: '1 2', local: '1', reachable: '1 2', hasAny: true },
  ],
  [
    'external Local, leaving here, ready elsewhere',
    EXTERNAL_LOCAL,
    [here('1', LEAVING), away('2')],
    { cluster: '2', local: '1', reachable: '1 2', hasAny: true },
  ],
  [
    'zone hints',
    CLUSTER,
    [here('1', zone('z1')), away('2', zone('z2'))],
    { cluster: '1', local: '', reachable: '1', hasAny: true },
  ],
  [
    'a ready one without hint: hints are off',
    CLUSTER,
    [here('1', zone('z1')), away('2')],
    { cluster: '1 2', local: '', reachable: '1 2', hasAny: true },
  ],
  [
    'an unready one without hint does not matter',
    CLUSTER,
    [here('1', zone('z1')), away('2', zone('z2')), away('3', GONE)],
    { cluster: '1', local: '', reachable: '1', hasAny: true },
  ],
  [
    'no hint names this zone',
    CLUSTER,
    [here('1', zone('z2')), away('2', zone('z3'))],
    { cluster: '1 2', local: '', reachable: '1 2', hasAny: true },
  ],
  [
    'node hints stand above zone hints',
    CLUSTER,
    [
      here('1', { hints: { forZones: [{ name: 'z1' }], forNodes: [{ name: 'node-2' }] } }),
      away('2', { hints: { forZones: [{ name: 'z1' }], forNodes: [{ name: NODE_NAME }] } }),
    ],
    { cluster: '2', local: '', reachable: '2', hasAny: true },
  ],
  [
    'node hints for others only',
    CLUSTER,
    [away('1', node('node-3')), away('2', node('node-2'))],
    { cluster: '1 2', local: '', reachable: '1 2', hasAny: true },
  ],
  [
    'topology does not bind local lists',
    EXTERNAL_LOCAL,
    [here('1', zone('z2')), away('2', zone('z1'))],
    { cluster: '2', local: '1', reachable: '1 2', hasAny: true },
  ],
];

for (const [what, spec, endpoints, expected] of CASES)
  test(`endpoints for this node: ${what}`, (t) => {
    const addressed = endpoints.map((endpoint) => ({ ...endpoint, ip: `10.244.0.${endpoint.ip}` }));
    const { services } = snapshotOf([serviceOf('ns/a', '10.96.0.1', spec)], [sliceOf('ns/a', addressed)]);
    const state = services.get('ns/a')!.ports[0]!;
    const found = categorizeEndpoints(state.endpoints, state.port, { nodeName: NODE_NAME, zone: 'z1' });
    const short = (list: readonly { ip: string }[]) => list.map(({ ip }) => ip.split('.').at(-1)).join(' ');
    t.deepEqual(
      {
        cluster: short(found.cluster),
        local: short(found.local),
        reachable: short(found.reachable),
        hasAny: found.hasAny,
      },
      expected,
    );
  });
