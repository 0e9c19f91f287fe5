import type { ModeName } from '../../proxy/mode.ts';
import type { EndpointSlice, Node, Service } from '../../src/kube/types.ts';
import { NODE_NAME, serviceOf, sliceOf } from './proxy.ts';

/*
 * What a service proxy does, as clients see it: one table for every mode and for kube-proxy itself. The world is that of proxy-world.ts: a
 * client outside, a process of the node, two pods. Where a proxy may differ, the case says how and which is right.
 */

export type Subject = ModeName | 'kube-proxy 1.20 iptables';

export type Asker = 'client' | 'host' | 'pod1' | 'pod2';

export interface Ask {
  from: Asker;
  host: string;
  port: number;
  protocol?: 'tcp' | 'udp';
  /** All different answers: `pod1 sees client`, `ECONNREFUSED`, `TIMEOUT`. */
  expect: readonly string[];
  /** Another answer, and why it is right there. */
  except?: Partial<Record<Subject, { expect: readonly string[]; why: string }>>;
}

export interface Behaviour {
  what: string;
  services: readonly Service[];
  slices: readonly EndpointSlice[];
  asks: readonly Ask[];
  /** What changes afterwards, and what is so then. */
  later?: {
    put?: readonly Service[];
    slices?: readonly EndpointSlice[];
    remove?: readonly Service[];
    asks: readonly Ask[];
  };
}

export const NODE_IP = '192.168.50.1';
const OTHER_NODE_IP = '10.244.0.1';
const [POD_1, POD_2] = ['10.244.0.11', '10.244.0.12'];
/** A pod that this node takes for one of another node. */
const REMOTE_2 = { ip: POD_2, nodeName: 'node-2' };
const ZONE_LABEL = 'topology.kubernetes.io/zone';

export const BEHAVIOUR_NODE = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: NODE_NAME, uid: NODE_NAME, resourceVersion: '1', labels: { [ZONE_LABEL]: 'zone-a' } },
  spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24'] },
  status: { addresses: [{ type: 'InternalIP', address: NODE_IP }] },
} as unknown as Node;

const both = (seen: string) => [`pod1 sees ${seen}`, `pod2 sees ${seen}`];
const NOT_READY = { ready: false, serving: false, terminating: false };
const LEAVING = { ready: false, serving: true, terminating: true };

type Extras = Parameters<typeof serviceOf>[2];
const clusterIp = (number: number) => `10.96.1.${number}`;
const nodePort = (number: number) => 30_100 + number;
const svc = (name: string, number: number, extras: Extras = {}) => serviceOf(`ns/${name}`, clusterIp(number), extras);
const withNodePort = (number: number, extras: Extras = {}): Extras => ({
  type: 'NodePort',
  ports: [{ port: 80, nodePort: nodePort(number), protocol: 'TCP' }],
  ...extras,
});
const slice = (name: string, ...endpoints: Parameters<typeof sliceOf>[1][number][]) => sliceOf(`ns/${name}`, endpoints);
const at = (from: Asker, host: string, port: number, expect: readonly string[], except?: Ask['except']): Ask => ({
  from,
  host,
  port,
  expect,
  except,
});
const onlyFor = (subjects: readonly Subject[], expect: readonly string[], why: string): Ask['except'] =>
  Object.fromEntries(subjects.map((subject) => [subject, { expect, why }]));

const NO_LOCALHOST = onlyFor(
  ['nftables', 'ipvs'],
  ['ECONNREFUSED'],
  'node ports on 127.0.0.1 need route_localnet, which these modes leave off (CVE-2020-8558)',
);
const PRIMARY_ONLY = onlyFor(
  ['nftables'],
  ['ECONNREFUSED'],
  'nodePortAddresses is "primary" in nftables mode unless it is set',
);
const REFUSED_PORT = onlyFor(
  ['nftables', 'ipvs'],
  ['ECONNREFUSED'],
  'these modes own the address, and refuse what they do not serve there; with iptables the packet leaves by the default route',
);
const EXTERNAL_FROM_NODE = onlyFor(
  ['nftables', 'ipvs', 'userspace'],
  ['ECONNREFUSED'],
  "KUBE-EXTERNAL-SERVICES hangs in INPUT and FORWARD alone: with iptables the node's own packets leave, as with kube-proxy",
);
const IPVS_LOCAL_ONLY = onlyFor(
  ['ipvs'],
  ['pod1 sees pod2'],
  'one virtual server serves all callers: with local endpoints there are no others, as in kube-proxy',
);

export const BEHAVIOURS: readonly Behaviour[] = [
  {
    what: 'ClusterIP: all endpoints answer everybody; pods keep their address',
    services: [svc('web', 1)],
    slices: [slice('web', POD_1, POD_2)],
    asks: [
      at('client', clusterIp(1), 80, both('node')),
      at('host', clusterIp(1), 80, both('node')),
      at('pod1', clusterIp(1), 80, ['pod1 sees node', 'pod2 sees pod1']),
    ],
  },
  {
    what: 'hairpin: a pod reaches itself through its own service',
    services: [svc('self', 2, withNodePort(2))],
    slices: [slice('self', POD_1)],
    asks: [at('pod1', clusterIp(2), 80, ['pod1 sees node']), at('pod1', NODE_IP, nodePort(2), ['pod1 sees node'])],
  },
  {
    what: 'several ports, TCP and UDP of one number, ports of pods of their own',
    services: [
      svc('dns', 3, {
        type: 'NodePort',
        ports: [
          { name: 'dns', port: 53, nodePort: nodePort(3), protocol: 'UDP' },
          { name: 'dns-tcp', port: 53, nodePort: nodePort(3), protocol: 'TCP' },
          { name: 'web', port: 81, nodePort: nodePort(103), protocol: 'TCP' },
        ],
      }),
    ],
    slices: [
      sliceOf('ns/dns', [POD_1, POD_2], {
        ports: [
          { name: 'dns', port: 5353, protocol: 'UDP' },
          { name: 'dns-tcp', port: 8080, protocol: 'TCP' },
        ],
      }),
      sliceOf('ns/dns', [POD_1], { suffix: 'b', ports: [{ name: 'web', port: 8080, protocol: 'TCP' }] }),
    ],
    asks: [
      { ...at('pod1', clusterIp(3), 53, ['pod1 sees node', 'pod2 sees pod1']), protocol: 'udp' },
      { ...at('client', NODE_IP, nodePort(3), both('node')), protocol: 'udp' },
      at('client', NODE_IP, nodePort(3), both('node')),
      at('client', clusterIp(3), 81, ['pod1 sees node']),
    ],
  },
  {
    what: 'NodePort: at the node, at its other addresses, at localhost',
    services: [svc('port', 4, withNodePort(4))],
    slices: [slice('port', POD_1, POD_2)],
    asks: [
      at('client', NODE_IP, nodePort(4), both('node')),
      at('pod1', NODE_IP, nodePort(4), both('node')),
      at('host', NODE_IP, nodePort(4), both('node')),
      at('client', OTHER_NODE_IP, nodePort(4), both('node'), PRIMARY_ONLY),
      at('host', '127.0.0.1', nodePort(4), both('node'), NO_LOCALHOST),
    ],
  },
  {
    what: 'externalIPs and load balancer addresses; those of ipMode Proxy are left alone',
    services: [
      svc('lb', 5, {
        ...withNodePort(5),
        type: 'LoadBalancer',
        externalIPs: ['198.51.100.5'],
        ingress: [{ ip: '198.18.1.5' }, { ip: '198.18.2.5', ipMode: 'Proxy' }],
      }),
    ],
    slices: [slice('lb', POD_1, POD_2)],
    asks: [
      at('client', '198.51.100.5', 80, both('node')),
      at('client', '198.18.1.5', 80, both('node')),
      at('pod1', '198.18.1.5', 80, both('node')),
      at('client', '198.18.2.5', 80, ['TIMEOUT'], {
        'kube-proxy 1.20 iptables': { expect: both('node'), why: 'ipMode is of Kubernetes 1.29; Berth is right' },
      }),
    ],
  },
  {
    what: 'loadBalancerSourceRanges admit by address, and are not for node ports',
    services: [
      svc('ranges', 6, {
        ...withNodePort(6),
        type: 'LoadBalancer',
        ingress: [{ ip: '198.18.1.6' }],
        loadBalancerSourceRanges: ['192.168.50.0/24'],
      }),
    ],
    slices: [slice('ranges', POD_1)],
    asks: [
      at('client', '198.18.1.6', 80, ['pod1 sees node']),
      at('pod2', '198.18.1.6', 80, ['TIMEOUT']),
      at('pod2', NODE_IP, nodePort(6), ['pod1 sees node']),
      at('pod2', clusterIp(6), 80, ['pod1 sees pod2']),
    ],
  },
  {
    what: 'externalTrafficPolicy Local: the client address arrives; pods and the node reach all endpoints',
    services: [svc('local', 7, withNodePort(7, { externalTrafficPolicy: 'Local' }))],
    slices: [slice('local', POD_1, REMOTE_2)],
    asks: [
      at('client', NODE_IP, nodePort(7), ['pod1 sees client']),
      at('pod2', NODE_IP, nodePort(7), ['pod1 sees pod2', 'pod2 sees node'], IPVS_LOCAL_ONLY),
      at('client', clusterIp(7), 80, both('node')),
    ],
  },
  {
    what: 'externalTrafficPolicy Local without a local endpoint: nothing for the outside, all for pods',
    services: [svc('away', 8, withNodePort(8, { externalTrafficPolicy: 'Local', externalIPs: ['198.51.100.8'] }))],
    slices: [slice('away', REMOTE_2)],
    asks: [
      at('client', NODE_IP, nodePort(8), ['TIMEOUT']),
      at('client', '198.51.100.8', 80, ['TIMEOUT']),
      at('pod1', NODE_IP, nodePort(8), ['pod2 sees pod1']),
      at('host', NODE_IP, nodePort(8), ['pod2 sees node']),
      at('client', clusterIp(8), 80, ['pod2 sees node']),
    ],
  },
  {
    what: 'internalTrafficPolicy Local: endpoints of this node alone, else nothing',
    services: [
      svc('inner', 9, { internalTrafficPolicy: 'Local' }),
      svc('inner-away', 10, { internalTrafficPolicy: 'Local' }),
    ],
    slices: [slice('inner', POD_1, REMOTE_2), slice('inner-away', REMOTE_2)],
    asks: [
      at('pod2', clusterIp(9), 80, ['pod1 sees pod2'], {
        'kube-proxy 1.20 iptables': {
          expect: ['pod1 sees pod2', 'pod2 sees node'],
          why: 'the field is of Kubernetes 1.21; Berth is right',
        },
      }),
      at('host', clusterIp(9), 80, ['pod1 sees node'], {
        'kube-proxy 1.20 iptables': { expect: both('node'), why: 'the field is of Kubernetes 1.21; Berth is right' },
      }),
      at('pod1', clusterIp(10), 80, ['TIMEOUT'], {
        ipvs: {
          expect: ['ECONNREFUSED'],
          why: 'a virtual server without real ones refuses; IPVS has no way to drop',
        },
        'kube-proxy 1.20 iptables': {
          expect: ['pod2 sees pod1'],
          why: 'the field is of Kubernetes 1.21; Berth is right',
        },
      }),
    ],
  },
  {
    what: 'no endpoints, or none that is ready: refused at once, everywhere',
    services: [
      svc('none', 11, {
        type: 'LoadBalancer',
        ports: [
          { name: 'tcp', port: 80, nodePort: nodePort(11), protocol: 'TCP' },
          { name: 'udp', port: 80, nodePort: nodePort(11), protocol: 'UDP' },
        ],
        externalIPs: ['198.51.100.11'],
        ingress: [{ ip: '198.18.1.11' }],
      }),
      svc('unready', 12),
    ],
    slices: [slice('unready', { ip: POD_1, conditions: NOT_READY })],
    asks: [
      at('client', clusterIp(11), 80, ['ECONNREFUSED']),
      at('host', clusterIp(11), 80, ['ECONNREFUSED']),
      { ...at('pod1', clusterIp(11), 80, ['ECONNREFUSED']), protocol: 'udp' },
      at('client', NODE_IP, nodePort(11), ['ECONNREFUSED']),
      at('client', '198.51.100.11', 80, ['ECONNREFUSED']),
      at('client', '198.18.1.11', 80, ['ECONNREFUSED']),
      at('host', '198.18.1.11', 80, ['TIMEOUT'], EXTERNAL_FROM_NODE),
      at('pod1', clusterIp(12), 80, ['ECONNREFUSED']),
    ],
    later: {
      slices: [
        slice('unready', { ip: POD_1, conditions: { ready: true, serving: true, terminating: false } }),
        sliceOf('ns/none', [POD_2], { ports: [{ name: 'tcp', port: 8080, protocol: 'TCP' }] }),
      ],
      asks: [
        at('pod2', clusterIp(12), 80, ['pod1 sees pod2']),
        at('client', NODE_IP, nodePort(11), ['pod2 sees node']),
        { ...at('pod1', clusterIp(11), 80, ['ECONNREFUSED']), protocol: 'udp' },
      ],
    },
  },
  {
    what: 'endpoints that terminate but still serve carry the load while nothing else does',
    services: [svc('rollout', 13), svc('rollout-local', 14, withNodePort(14, { externalTrafficPolicy: 'Local' }))],
    slices: [
      slice('rollout', { ip: POD_1, conditions: LEAVING }),
      slice('rollout-local', { ip: POD_1, conditions: LEAVING }, REMOTE_2),
    ],
    asks: [
      at('pod2', clusterIp(13), 80, ['pod1 sees pod2'], {
        'kube-proxy 1.20 iptables': { expect: ['ECONNREFUSED'], why: 'came with Kubernetes 1.22; Berth is right' },
      }),
      at('client', NODE_IP, nodePort(14), ['pod1 sees client'], {
        'kube-proxy 1.20 iptables': { expect: ['TIMEOUT'], why: 'came with Kubernetes 1.22; Berth is right' },
      }),
    ],
    later: {
      slices: [slice('rollout', { ip: POD_1, conditions: LEAVING }, POD_2)],
      asks: [at('client', clusterIp(13), 80, ['pod2 sees node'])],
    },
  },
  {
    what: 'hints: traffic stays in its zone when every endpoint has one',
    services: [svc('near', 15), svc('half', 16)],
    slices: [
      slice(
        'near',
        { ip: POD_1, hints: { forZones: [{ name: 'zone-a' }] } },
        { ip: POD_2, hints: { forZones: [{ name: 'zone-b' }] } },
      ),
      slice('half', { ip: POD_1, hints: { forZones: [{ name: 'zone-a' }] } }, POD_2),
    ],
    asks: [
      at('client', clusterIp(15), 80, ['pod1 sees node'], {
        'kube-proxy 1.20 iptables': { expect: both('node'), why: 'hints are of Kubernetes 1.21; Berth is right' },
      }),
      at('client', clusterIp(16), 80, both('node')),
    ],
  },
  {
    what: 'services of another proxy, headless ones and ExternalName: nothing',
    services: [
      svc('theirs', 17, { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } }),
      svc('taken', 18),
      serviceOf('ns/elsewhere', '', { type: 'ExternalName', externalName: 'example.org' }),
    ],
    slices: [slice('theirs', POD_1), slice('taken', POD_1)],
    asks: [at('client', clusterIp(17), 80, ['TIMEOUT']), at('client', clusterIp(18), 80, ['pod1 sees node'])],
    later: {
      put: [svc('taken', 18, { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } })],
      asks: [at('client', clusterIp(18), 80, ['TIMEOUT'])],
    },
  },
  {
    what: 'sessionAffinity ClientIP: one endpoint a client, until it is switched off',
    services: [
      svc(
        'sticky',
        19,
        withNodePort(19, {
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } },
        }),
      ),
    ],
    slices: [slice('sticky', POD_1, POD_2)],
    asks: [
      at('client', clusterIp(19), 80, ['one of both, from node']),
      at('client', NODE_IP, nodePort(19), ['one of both, from node']),
    ],
    later: {
      put: [svc('sticky', 19, withNodePort(19))],
      asks: [at('client', clusterIp(19), 80, both('node'))],
    },
  },
  {
    what: 'a port that the service does not have',
    services: [svc('port-80', 20)],
    slices: [slice('port-80', POD_1)],
    asks: [at('client', clusterIp(20), 81, ['TIMEOUT'], REFUSED_PORT)],
  },
  {
    what: 'types and ports that change, services that go',
    services: [svc('was-port', 21, withNodePort(21)), svc('gone', 22)],
    slices: [slice('was-port', POD_1), slice('gone', POD_1)],
    asks: [
      at('client', NODE_IP, nodePort(21), ['pod1 sees node']),
      at('client', clusterIp(22), 80, ['pod1 sees node']),
    ],
    later: {
      put: [svc('was-port', 21, { ports: [{ port: 8888, protocol: 'TCP' }] })],
      remove: [svc('gone', 22)],
      asks: [
        at('client', NODE_IP, nodePort(21), ['ECONNREFUSED']),
        at('client', clusterIp(21), 8888, ['pod1 sees node']),
        at('client', clusterIp(21), 80, ['TIMEOUT'], REFUSED_PORT),
        at('client', clusterIp(22), 80, ['TIMEOUT']),
      ],
    },
  },
];
