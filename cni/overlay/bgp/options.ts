import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { formatIp, parseIp } from '../../../src/linux/ip.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { BackendFields } from '../backend-fields.ts';

/** A router outside of the cluster's nodes with which every node speaks: a top-of-rack switch, a reflector of its own. */
export interface RouterPeer {
  address: string;
  asNumber: number;
}

/** How a node takes part in BGP; from net-conf's `Backend` object. */
export interface BgpOptions {
  asNumber: number;
  /**
   * `auto`: every node speaks with every node as long as none is a route reflector; then with the reflectors only. `on`: with every
   * node in any case. `off`: with reflectors and routers only.
   */
  nodeMesh: 'auto' | 'on' | 'off';
  /** Makes this node a route reflector; written as an IPv4 address. Reflectors of one set share it. */
  routeReflectorClusterId?: string;
  routers: readonly RouterPeer[];
  /** TCP port of all sessions, ours and the others'. */
  port: number;
  /** File whose first line signs all sessions (TCP MD5, RFC 2385). */
  passwordFile?: string;
  /** Further configuration for BIRD, by the administrator: paths, `*` allowed. */
  include: readonly string[];
  /** Name or path of BIRD 2. */
  birdProgram: string;
  /** Configuration, control socket, log; gone with the next boot. */
  directory: string;
}

/** Where BIRD's files are unless a configuration says otherwise. */
export const BGP_DIRECTORY = '/run/berth/bgp';
/** Calico's; of the range for private use. */
const DEFAULT_AS_NUMBER = 64_512;
const HIGHEST_AS_NUMBER = 4_294_967_294;
/** Of the kernel: TCP_MD5SIG_MAXKEYLEN. */
const PASSWORD_LIMIT_BYTES = 80;

/** What holds where a configuration says nothing. */
export const BGP_DEFAULTS: BgpOptions = {
  asNumber: DEFAULT_AS_NUMBER,
  nodeMesh: 'auto',
  routers: [],
  port: 179,
  include: [],
  birdProgram: 'bird',
  directory: BGP_DIRECTORY,
};

/** @throws ExplainedError naming the key, its value and what is accepted. */
export function readBgpOptions(fields: BackendFields): BgpOptions {
  const clusterId = fields.text('RouteReflectorClusterID');
  if (clusterId !== '' && !isClusterId(clusterId))
    throw new ExplainedError(
      `Backend.RouteReflectorClusterID: "${clusterId}" is not written as an IPv4 address (244.0.0.1)`,
    );
  return {
    asNumber: fields.whole('ASNumber', { min: 1, max: HIGHEST_AS_NUMBER, otherwise: BGP_DEFAULTS.asNumber }),
    nodeMesh: fields.oneOf('NodeMesh', ['auto', 'on', 'off'], BGP_DEFAULTS.nodeMesh),
    routeReflectorClusterId: clusterId === '' ? undefined : clusterId,
    routers: fields.texts('Peers').map(parseRouter),
    port: fields.whole('Port', { min: 1, max: 65_535, otherwise: BGP_DEFAULTS.port }),
    passwordFile: fields.text('PasswordFile') || undefined,
    include: fields.texts('Include').map(checkIncluded),
    birdProgram: fields.text('BirdProgram', BGP_DEFAULTS.birdProgram),
    directory: fields.text('Directory', BGP_DEFAULTS.directory),
  };
}

/** Whether a reflector's cluster id can be used: what other nodes say of themselves is checked too. */
export function isClusterId(text: unknown): text is string {
  return typeof text === 'string' && /^\d+(\.\d+){3}$/.test(text) && isIP(text) !== 0 && text !== '0.0.0.0';
}

export function isAsNumber(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= HIGHEST_AS_NUMBER;
}

/** `192.0.2.254@64513`, `2001:db8::1@64513`. */
function parseRouter(text: string): RouterPeer {
  const [address = '', asNumber = '', ...more] = text.split('@');
  if (more.length > 0 || isIP(address) === 0 || !/^\d+$/.test(asNumber) || !isAsNumber(Number(asNumber)))
    throw new ExplainedError(`Backend.Peers: "${text}" is not ADDRESS@AS, such as 192.0.2.254@64513`);
  return { address: formatIp(parseIp(address)), asNumber: Number(asNumber) };
}

/** BIRD's texts know no escape. */
function checkIncluded(path: string): string {
  if (!path.startsWith('/') || /["\n\r\0]/.test(path))
    throw new ExplainedError(`Backend.Include: ${JSON.stringify(path)} is not an absolute path without quotes`);
  return path;
}

/** @throws ExplainedError naming the file when it cannot be read or used; never its content. */
export function readPassword(path: string): string {
  let password: string;
  try {
    password = readFileSync(path, 'utf8').split('\n')[0]!.trimEnd();
  } catch (error) {
    throw new ExplainedError(`Backend.PasswordFile: ${(error as Error).message}`, { cause: error });
  }
  if (password === '' || Buffer.byteLength(password) > PASSWORD_LIMIT_BYTES || /["\0]/.test(password))
    throw new ExplainedError(
      `Backend.PasswordFile ${path}: its first line must have 1 to ${PASSWORD_LIMIT_BYTES} bytes, none of them a double quote`,
    );
  return password;
}
