import { randomBytes } from 'node:crypto';
import { NftBatch, type Transaction } from '../../src/netfilter/nfnetlink/batch.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { Endpoint, ProxySnapshot, ServicePort } from '../state/model.ts';
import { NFT_FAMILY, renderRuleSetSteps } from './rule-set.ts';
import { buildFullSteps } from './transaction.ts';

/**
 * A trial of a table with everything that rules of ours may be made of: the kernel says whether it has each expression, and
 * makes nothing of it.
 */
export async function buildProbe(family: IpFamily): Promise<Transaction> {
  const ruleSet = await runInSlices(renderRuleSetSteps(probeSnapshot(family), probeOptions(family)));
  const batch = new NftBatch(NFT_FAMILY[family], `kube-proxy-probe-${randomBytes(4).toString('hex')}`);
  await runInSlices(buildFullSteps(ruleSet, batch, false));
  return batch.finishTrial();
}

/** Addresses for documentation (RFC 5737, RFC 3849): no packet has them. */
const ADDRESSES: Record<IpFamily, { prefix: string; cidr: string }> = {
  IPv4: { prefix: '192.0.2.', cidr: '192.0.2.0/24' },
  IPv6: { prefix: '2001:db8::', cidr: '2001:db8::/32' },
};

function probeSnapshot(family: IpFamily): ProxySnapshot {
  const { prefix, cidr } = ADDRESSES[family];
  const endpoint = (host: number): Endpoint => ({
    ip: `${prefix}${host}`,
    port: 80,
    address: `${prefix}${host} 80`,
    isLocal: true,
    isReady: true,
    isServing: true,
    isTerminating: false,
    zoneHints: [],
    nodeHints: [],
  });
  const port = (name: string, host: number, rest: Partial<ServicePort>): ServicePort => ({
    namespace: 'probe',
    name,
    displayName: `probe/${name}`,
    portName: '',
    protocol: 'TCP',
    clusterIp: `${prefix}${host}`,
    port: 80,
    nodePort: 0,
    healthCheckNodePort: 0,
    externalIps: [],
    loadBalancerVips: [],
    loadBalancerSourceRanges: [],
    isInternalPolicyLocal: false,
    isExternalPolicyLocal: false,
    ...rest,
  });
  const external = {
    nodePort: 30_000,
    loadBalancerVips: [`${prefix}40`],
    loadBalancerSourceRanges: [cidr],
    isExternalPolicyLocal: true,
  };
  const endpoints = [endpoint(1), endpoint(2)];
  return {
    family,
    services: new Map([
      ['probe/all', { ports: [{ port: port('all', 10, external), endpoints }] }],
      ['probe/affinity', { ports: [{ port: port('affinity', 11, { affinitySeconds: 60 }), endpoints }] }],
      ['probe/none', { ports: [{ port: port('none', 12, { protocol: 'SCTP' }), endpoints: [] }] }],
    ]),
  };
}

function probeOptions(family: IpFamily): NodeRenderOptions {
  const { prefix, cidr } = ADDRESSES[family];
  return {
    node: { nodeName: 'probe', zone: '' },
    nodeIps: [`${prefix}1`],
    localDetector: { kind: 'cidr', cidr },
    masqueradeAll: false,
    masqueradeMark: 0x4000,
    localhostNodePorts: false,
    conntrackTcpBeLiberal: false,
    serviceCidrs: [cidr],
  };
}
