import type { BackendFields } from '../backend-fields.ts';

/** net-conf.json's `Backend` of type vxlan, with flannel's keys and defaults. */
export interface VxlanOptions {
  /** 24 bits. */
  vni: number;
  /** UDP; 0: the kernel's default, 8472. */
  port: number;
  /** What the underlay carries; 0: as much as the uplink. The device has that less the encapsulation. */
  mtu: number;
  groupPolicy: boolean;
  learning: boolean;
  /** Nodes that are reached without a router are reached without VXLAN too. */
  directRouting: boolean;
  /** Of our own: whether senders leave inner checksums to the hardware. `auto` asks the kernel's version and a peer. */
  txChecksumOffload: 'auto' | 'on' | 'off';
}

const GREATEST_VNI = 2 ** 24 - 1;
const GREATEST_MTU = 65_535;

/** @throws ExplainedError naming key and value. */
export function readVxlanOptions(fields: BackendFields): VxlanOptions {
  return {
    vni: fields.whole('VNI', { min: 1, max: GREATEST_VNI, otherwise: 1 }),
    port: fields.whole('Port', { min: 0, max: 65_535, otherwise: 0 }),
    mtu: fields.whole('MTU', { min: 0, max: GREATEST_MTU, otherwise: 0 }),
    groupPolicy: fields.flag('GBP'),
    learning: fields.flag('Learning'),
    directRouting: fields.flag('DirectRouting'),
    txChecksumOffload: fields.oneOf('TxChecksumOffload', ['auto', 'on', 'off'] as const, 'auto'),
  };
}
