import { readFileSync } from 'node:fs';
import {
  type Attribute,
  bytes,
  LITTLE_ENDIAN,
  nested,
  readAttributes,
  readText,
  readU32,
  text,
  u32,
} from './attributes.ts';
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from './constants.ts';
import type { Rtnetlink } from './rtnetlink.ts';

/** Numbers of linux/rtnetlink.h and linux/pkt_sched.h. */
const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const RTM_NEWTCLASS = 40;
const RTM_GETTCLASS = 42;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
const TCA_HTB_PARMS = 1;
const TCA_HTB_INIT = 2;
const TCA_HTB_RATE64 = 6;
const TCA_HTB_CEIL64 = 7;

/** Where a queueing discipline stands: TC_H_ROOT and TC_H_INGRESS. */
export const ROOT = 0xffff_ffff;
export const INGRESS = 0xffff_fff1;

/** `1:30` */
export function handle(major: number, minor = 0): number {
  return ((major << 16) | minor) >>> 0;
}

/** Of the ingress discipline, by custom. */
export const INGRESS_HANDLE = handle(0xffff);

/** Token bucket: so many bytes a second; so many at once after a pause; so many more may wait. */
export interface TokenBucket {
  rateBytes: number;
  burstBytes: number;
  limitBytes: number;
}

/** A queueing discipline of a link as the kernel shows it. */
export interface Qdisc {
  linkIndex: number;
  kind: string;
  handle: number;
  parent: number;
  /** Of kind `tbf`: bytes a second, and the bucket in ticks of the scheduler, of which the kernel shows 32 bits. */
  tokenBucket?: { rateBytes: number; bufferTicks: number; limitBytes: number };
  /** Of kind `htb`: the minor number of the class that takes what no filter sorts. */
  defaultClass?: number;
}

/** A class of an `htb` discipline as the kernel shows it. */
export interface HtbClass {
  handle: number;
  rateBytes: number;
  bufferTicks: number;
}

type Netlink = Pick<Rtnetlink, 'request'>;

/** struct tcmsg */
export function trafficHeader(linkIndex: number, own: number, parent: number, info = 0): Buffer {
  const header = Buffer.alloc(20);
  for (const [at, value] of [
    [4, linkIndex],
    [8, own],
    [12, parent],
    [16, info],
  ] as const)
    LITTLE_ENDIAN ? header.writeUInt32LE(value, at) : header.writeUInt32BE(value, at);
  return header;
}

async function add(
  netlink: Netlink,
  type: number,
  operation: string,
  header: Buffer,
  kind: string,
  options: Attribute[],
) {
  const body = [header, ...text(TCA_KIND, kind), ...(options.length > 0 ? nested(TCA_OPTIONS, options) : [])];
  await netlink.request({ operation, type, flags: NLM_F_CREATE | NLM_F_EXCL, body });
}

/** A token bucket as the link's root. EEXIST where there is a discipline already. */
export async function addTokenBucket(netlink: Netlink, linkIndex: number, bucket: TokenBucket): Promise<void> {
  const ticks = bufferTicks(bucket.rateBytes, bucket.burstBytes);
  const parameters = Buffer.concat([
    rateSpec(bucket.rateBytes),
    // No peak rate.
    Buffer.alloc(12),
    numbers(Math.min(bucket.limitBytes, U32_MAX), Math.min(ticks, U32_MAX), 0),
  ]);
  await add(netlink, RTM_NEWQDISC, `add tbf to link ${linkIndex}`, trafficHeader(linkIndex, handle(1), ROOT), 'tbf', [
    bytes(TCA_TBF_PARMS, parameters),
    ...(bucket.rateBytes > U32_MAX ? [u64(TCA_TBF_RATE64, bucket.rateBytes)] : []),
    // A slow rate with a long burst takes more ticks than fit: then the burst is told in bytes.
    ...(ticks > U32_MAX ? [u32(TCA_TBF_BURST, bucket.burstBytes)] : []),
  ]);
}

/** An htb discipline as the link's root, `1:`. */
export async function addHtb(netlink: Netlink, linkIndex: number, defaultClass: number): Promise<void> {
  const [VERSION, RATE_TO_QUANTUM] = [3, 10];
  const init = numbers(VERSION, RATE_TO_QUANTUM, defaultClass, 0, 0);
  const header = trafficHeader(linkIndex, handle(1), ROOT);
  await add(netlink, RTM_NEWQDISC, `add htb to link ${linkIndex}`, header, 'htb', [bytes(TCA_HTB_INIT, init)]);
}

/** A class of the root's: its packets leave with at most this rate. */
export async function addHtbClass(
  netlink: Netlink,
  linkIndex: number,
  spec: { minor: number; rateBytes: number; burstBytes: number },
): Promise<void> {
  const { minor, rateBytes, burstBytes } = spec;
  const ticks = Math.min(bufferTicks(rateBytes, burstBytes), U32_MAX);
  const rate = rateSpec(rateBytes);
  // struct tc_htb_opt: rate, ceiling, buffer of each, quantum, level, priority.
  const parameters = Buffer.concat([rate, rate, numbers(ticks, ticks, HTB_QUANTUM_BYTES, 0, 0)]);
  const large = rateBytes > U32_MAX ? [u64(TCA_HTB_RATE64, rateBytes), u64(TCA_HTB_CEIL64, rateBytes)] : [];
  const header = trafficHeader(linkIndex, handle(1, minor), handle(1));
  await add(netlink, RTM_NEWTCLASS, `add class 1:${minor} to link ${linkIndex}`, header, 'htb', [
    bytes(TCA_HTB_PARMS, parameters),
    ...large,
  ]);
}

/** What comes in by the link can be filtered from then on. */
export async function addIngress(netlink: Netlink, linkIndex: number): Promise<void> {
  const header = trafficHeader(linkIndex, INGRESS_HANDLE, INGRESS);
  await add(netlink, RTM_NEWQDISC, `add ingress to link ${linkIndex}`, header, 'ingress', []);
}

/** With its classes and filters; the kernel's default takes its place. ENOENT (or EINVAL) when there is none. */
export async function deleteQdisc(
  netlink: Netlink,
  linkIndex: number,
  parent: typeof ROOT | typeof INGRESS,
): Promise<void> {
  const own = parent === ROOT ? 0 : INGRESS_HANDLE;
  const operation = `delete the discipline of link ${linkIndex}`;
  await netlink.request({ operation, type: RTM_DELQDISC, body: [trafficHeader(linkIndex, own, parent)] });
}

export async function listQdiscs(netlink: Netlink, linkIndex: number): Promise<Qdisc[]> {
  const body = [trafficHeader(linkIndex, 0, 0)];
  const answers = await netlink.request({ operation: 'list disciplines', type: RTM_GETQDISC, flags: NLM_F_DUMP, body });
  return answers.map(decodeQdisc).filter((qdisc) => qdisc.linkIndex === linkIndex);
}

/** Of a link's htb discipline. */
export async function listHtbClasses(netlink: Netlink, linkIndex: number): Promise<HtbClass[]> {
  const body = [trafficHeader(linkIndex, 0, 0)];
  const answers = await netlink.request({ operation: 'list classes', type: RTM_GETTCLASS, flags: NLM_F_DUMP, body });
  return answers.flatMap((answer) => {
    const attributes = readAttributes(answer, 20);
    if (readText(attributes.get(TCA_KIND) ?? Buffer.alloc(1)) !== 'htb') return [];
    const options = readAttributes(attributes.get(TCA_OPTIONS) ?? Buffer.alloc(0));
    const parameters = options.get(TCA_HTB_PARMS);
    if (!parameters) return [];
    const rateBytes = wideRate(options.get(TCA_HTB_RATE64)) ?? readU32(parameters, 8);
    return [{ handle: readU32(answer, 8), rateBytes, bufferTicks: readU32(parameters, 24) }];
  });
}

function decodeQdisc(body: Buffer): Qdisc {
  const attributes = readAttributes(body, 20);
  const kind = readText(attributes.get(TCA_KIND) ?? Buffer.alloc(1));
  const qdisc: Qdisc = { linkIndex: readU32(body, 4), handle: readU32(body, 8), parent: readU32(body, 12), kind };
  const options = attributes.get(TCA_OPTIONS);
  if (kind === 'tbf' && options) {
    const own = readAttributes(options);
    const parameters = own.get(TCA_TBF_PARMS)!;
    const rateBytes = wideRate(own.get(TCA_TBF_RATE64)) ?? readU32(parameters, 8);
    qdisc.tokenBucket = { rateBytes, limitBytes: readU32(parameters, 24), bufferTicks: readU32(parameters, 28) };
  }
  if (kind === 'htb' && options) {
    const init = readAttributes(options).get(TCA_HTB_INIT);
    if (init) qdisc.defaultClass = readU32(init, 8);
  }
  return qdisc;
}

const U32_MAX = 0xffff_ffff;
/** Of a class's turn; any sensible number, since a link's classes here do not compete. */
const HTB_QUANTUM_BYTES = 60_000;

/** struct tc_ratespec with nothing but a rate: the kernel works out the rest. A rate beyond 32 bits stands in an attribute of its own. */
function rateSpec(rateBytes: number): Buffer {
  return Buffer.concat([Buffer.alloc(8), numbers(Math.min(rateBytes, U32_MAX))]);
}

function numbers(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries())
    LITTLE_ENDIAN ? buffer.writeUInt32LE(value, index * 4) : buffer.writeUInt32BE(value, index * 4);
  return buffer;
}

function u64(type: number, value: number): Attribute {
  const buffer = Buffer.alloc(8);
  LITTLE_ENDIAN ? buffer.writeBigUInt64LE(BigInt(value)) : buffer.writeBigUInt64BE(BigInt(value));
  return bytes(type, buffer);
}

function wideRate(value: Buffer | undefined): number | undefined {
  return value && Number(LITTLE_ENDIAN ? value.readBigUInt64LE() : value.readBigUInt64BE());
}

/** How long a burst takes at a rate, in ticks of the kernel's scheduler: microseconds first, as tc and the reference plugin reckon. */
export function bufferTicks(rateBytes: number, burstBytes: number): number {
  return Math.floor(Math.floor((burstBytes * 1e6) / rateBytes) * ticksAMicrosecond());
}

let ticks: number | undefined;

/** /proc/net/psched: ticks to microseconds, as a fraction, and the clock's resolution. The same on a machine for good. */
function ticksAMicrosecond(): number {
  if (ticks === undefined) {
    const [ticksTo, microsecondsTo, clock] = readFileSync('/proc/net/psched', 'utf8')
      .trim()
      .split(/\s+/)
      .map((hex) => Number.parseInt(hex, 16));
    ticks = (ticksTo! / microsecondsTo!) * (clock! / 1e6);
  }
  return ticks;
}
