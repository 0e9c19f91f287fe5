import type { RenderOptions } from '../../../proxy/iptables/shared-chains.ts';
import type { EndpointSlice, Service } from '../../../src/kube/types.ts';
import type { IpFamily } from '../../../src/netfilter/tables.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';

export interface Scenario {
  services: Service[];
  slices: EndpointSlice[];
  family?: IpFamily;
  options?: Partial<RenderOptions>;
}

const NAMED = [{ name: 'p80', port: 80, protocol: 'TCP' as const }];
const NAMED_TARGET = [{ name: 'p80', port: 8080, protocol: 'TCP' as const }];
const REMOTE = { ip: '10.244.2.3', nodeName: 'node-2' };

/** Each is rendered to `<name>.txt` beside this file. */
export const SCENARIOS: Record<string, Scenario> = {
  empty: { services: [], slices: [] },
  'cluster-ip': {
    services: [serviceOf('ns1/svc1', '10.96.0.41', { ports: NAMED })],
    slices: [sliceOf('ns1/svc1', ['10.244.0.1', '10.244.0.2', REMOTE], { ports: NAMED_TARGET })],
  },
  'no-endpoints': {
    services: [
      serviceOf('ns1/svc1', '10.96.0.41', {
        type: 'NodePort',
        ports: [{ port: 80, nodePort: 30080 }],
        externalIPs: ['198.51.100.1'],
      }),
    ],
    slices: [],
  },
  'node-port': {
    services: [
      serviceOf('ns2/svc2', '10.96.0.42', {
        type: 'NodePort',
        ports: [
          { name: 'web', port: 80, nodePort: 30080, protocol: 'TCP' },
          { name: 'dns', port: 53, nodePort: 30053, protocol: 'UDP' },
        ],
      }),
    ],
    slices: [
      sliceOf('ns2/svc2', ['10.244.0.1', REMOTE], {
        ports: [
          { name: 'web', port: 8080, protocol: 'TCP' },
          { name: 'dns', port: 5353, protocol: 'UDP' },
        ],
      }),
    ],
  },
  'load-balancer': {
    services: [
      serviceOf('ns3/lb', '10.96.0.43', {
        type: 'LoadBalancer',
        ports: [{ name: 'p80', port: 80, nodePort: 30081, protocol: 'TCP' }],
        externalIPs: ['198.51.100.2'],
        ingress: [{ ip: '203.0.113.1' }, { ip: '203.0.113.2', ipMode: 'Proxy' }],
        loadBalancerSourceRanges: [' 192.168.0.7/24', '203.0.113.128/25', 'fd00::/8'],
      }),
    ],
    slices: [sliceOf('ns3/lb', ['10.244.0.1'], { ports: NAMED_TARGET })],
  },
  'external-policy-local': {
    services: [
      serviceOf('ns4/local', '10.96.0.44', {
        type: 'LoadBalancer',
        externalTrafficPolicy: 'Local',
        healthCheckNodePort: 32000,
        ports: [{ name: 'p80', port: 80, nodePort: 30082, protocol: 'TCP' }],
        ingress: [{ ip: '203.0.113.3' }],
      }),
      serviceOf('ns4/none-here', '10.96.0.45', {
        type: 'NodePort',
        externalTrafficPolicy: 'Local',
        ports: [{ name: 'p80', port: 80, nodePort: 30083, protocol: 'TCP' }],
      }),
    ],
    slices: [
      sliceOf('ns4/local', ['10.244.0.1', REMOTE], { ports: NAMED_TARGET }),
      sliceOf('ns4/none-here', [REMOTE], { ports: NAMED_TARGET }),
    ],
  },
  'internal-policy-local': {
    services: [
      serviceOf('ns5/here', '10.96.0.46', { internalTrafficPolicy: 'Local' }),
      serviceOf('ns5/not-here', '10.96.0.47', { internalTrafficPolicy: 'Local' }),
    ],
    slices: [sliceOf('ns5/here', ['10.244.0.1', REMOTE]), sliceOf('ns5/not-here', [REMOTE])],
  },
  'session-affinity': {
    services: [
      serviceOf('ns6/sticky', '10.96.0.48', {
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
      }),
    ],
    slices: [sliceOf('ns6/sticky', ['10.244.0.1', REMOTE])],
  },
  ipv6: {
    family: 'IPv6',
    services: [
      serviceOf('ns7/six', 'fd00:10:96::1', {
        type: 'NodePort',
        clusterIPs: ['10.96.0.49', 'FD00:10:96:0::1'],
        ports: [{ port: 80, nodePort: 30084, protocol: 'TCP' }],
      }),
      serviceOf('ns7/four', '10.96.0.50'),
    ],
    slices: [
      sliceOf('ns7/six', ['fd00:10:244::1'], { addressType: 'IPv6' }),
      sliceOf('ns7/six', ['10.244.0.1'], { suffix: 'b' }),
    ],
    options: { localDetector: { kind: 'cidr', cidr: 'fd00:10:244::/56' }, nodeIps: ['fd00::2'] },
  },
  'other-options': {
    services: [serviceOf('ns8/svc', '10.96.0.51', { type: 'NodePort', ports: [{ port: 80, nodePort: 30085 }] })],
    slices: [sliceOf('ns8/svc', ['10.244.0.1'])],
    options: {
      masqueradeAll: true,
      masqueradeMark: 1,
      localhostNodePorts: false,
      nodePortAddresses: ['192.168.0.2', '127.0.0.1'],
      conntrackTcpBeLiberal: true,
      hasRandomFully: false,
      isLargeCluster: true,
    },
  },
  accounting: {
    services: [
      serviceOf('ns2/svc2', '10.96.0.42', {
        type: 'NodePort',
        ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }],
      }),
    ],
    slices: [sliceOf('ns2/svc2', ['10.244.0.1'])],
    options: {
      invalidPacketCounter: 'ct_state_invalid_dropped_pkts',
      localhostNodePortCounter: 'localhost_nps_accepted_pkts',
    },
  },
};
