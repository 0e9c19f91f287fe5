/** The CNI 1.1 vocabulary inside Berth: typed arguments and results, no environment, no JSON on pipes. */

/** Well-known error codes of the CNI specification; 100 and up are a plugin's own. */
export const CNI_ERROR = {
  unknown: 0,
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodeFailure: 6,
  invalidNetworkConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** host-local: every address of the range set is taken. */
  rangeExhausted: 100,
  /** An interface or a reservation of this container is already there. */
  alreadyAttached: 101,
  /** host-local: the address that was asked for is another's. */
  addressTaken: 102,
} as const;

/** What a plugin throws; a binary prints it as `{cniVersion, code, msg, details}`. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: number;
  readonly details: string | undefined;

  constructor(code: number, message: string, options: { details?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.details = options.details;
  }
}

/** Names one attachment of one container: the key of everything that a plugin keeps. */
export interface AttachmentKey {
  containerId: string;
  /** Name inside the container: `eth0`, `lo`. */
  ifname: string;
}

export interface AttachRequest extends AttachmentKey {
  /** Path of the container's network namespace. */
  netns: string;
  /** CNI_ARGS: `K8S_POD_NAMESPACE`, `K8S_POD_NAME`, `K8S_POD_UID`, …. */
  args: Readonly<Record<string, string>>;
}

export interface DetachRequest extends AttachmentKey {
  /** Absent, or leading nowhere, when the container is long gone. */
  netns?: string;
  args: Readonly<Record<string, string>>;
}

export interface CniInterface {
  name: string;
  mac?: string;
  mtu?: number;
  /** The namespace's path; empty for one on the host. */
  sandbox: string;
  socketPath?: string;
  pciID?: string;
}

export interface CniIp {
  /** With prefix length. */
  address: string;
  gateway?: string;
  /** Index into `interfaces`; absent in IPAM results. */
  interface?: number;
}

export interface CniRoute {
  dst: string;
  gw?: string;
  mtu?: number;
  advmss?: number;
  priority?: number;
  table?: number;
  scope?: number;
}

export interface CniDns {
  nameservers?: string[];
  domain?: string;
  search?: string[];
  options?: string[];
}

export interface CniResult {
  interfaces: CniInterface[];
  ips: CniIp[];
  routes: CniRoute[];
  dns?: CniDns;
}

/**
 * A plugin is an object over typed arguments. `add` rolls back what it did when it throws; `del` is idempotent and works
 * without a namespace; all are safe to call for different containers at the same time.
 */
export interface Plugin<Config> {
  readonly type: string;
  add(config: Config, request: AttachRequest, previous?: CniResult): Promise<CniResult>;
  del(config: Config, request: DetachRequest): Promise<void>;
  /** Throws when the attachment is not as the ADD result says. */
  check(config: Config, request: AttachRequest, result: CniResult): Promise<void>;
  /** Releases everything of this network that belongs to none of the valid attachments. */
  gc(config: Config, valid: readonly AttachmentKey[]): Promise<void>;
  /** Throws code 50 or 51 when no ADD can succeed now. */
  status(config: Config): Promise<void>;
}

/** An address manager: a plugin whose result has addresses and routes but no interfaces. */
export type IpamPlugin<Config> = Plugin<Config>;
