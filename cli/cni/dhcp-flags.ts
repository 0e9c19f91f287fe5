import { DEFAULT_CACHE_DIR } from '../../cni/invoke/attachment-cache.ts';
import type { ClientPatience } from '../../cni/ipam/dhcp/client.ts';
import { DEFAULT_DHCP_SOCKET } from '../../cni/ipam/dhcp/dhcp.ts';
import { DEFAULT_PATIENCE } from '../../cni/ipam/dhcp/leases.ts';
import { parseGoDurationMs } from '../../src/config/duration.ts';
import { UserError } from '../output/failure.ts';

export interface DhcpDaemonOptions extends ClientPatience {
  /** Absolute; undefined for none. */
  pidFile?: string;
  /** Stands before the socket's path and those of namespaces. */
  hostPrefix: string;
  socketPath: string;
  broadcast: boolean;
  /** libcni's, with attachments whose leases another daemon kept; empty for none. */
  cacheDir: string;
}

/** The reference daemon's flags, and `-cachedir`; `--flag` and `-flag`, `-flag=value` and `-flag value`, as Go reads them. */
const FLAGS: Record<string, (options: DhcpDaemonOptions, value: string, flag: string) => void> = {
  pidfile(options, value, flag) {
    options.pidFile = absolute(flag, value);
  },
  hostprefix(options, value, flag) {
    options.hostPrefix = value === '' ? '' : absolute(flag, value).replace(/\/+$/, '');
  },
  socketpath(options, value, flag) {
    options.socketPath = value === '' ? DEFAULT_DHCP_SOCKET : absolute(flag, value);
  },
  cachedir(options, value, flag) {
    options.cacheDir = value === '' ? '' : absolute(flag, value);
  },
  broadcast(options, value, flag) {
    options.broadcast = flagOf(flag, value);
  },
  timeout(options, value, flag) {
    options.timeoutMs = duration(flag, value);
  },
  resendmax(options, value, flag) {
    options.resendMaxMs = duration(flag, value);
  },
  resendtimeout(options, value, flag) {
    options.resendTimeoutMs = duration(flag, value);
  },
};

/** @throws UserError that names the flag, its value and what is accepted. */
export function parseDhcpFlags(args: readonly string[]): DhcpDaemonOptions {
  const options: DhcpDaemonOptions = {
    hostPrefix: '',
    socketPath: DEFAULT_DHCP_SOCKET,
    broadcast: false,
    cacheDir: DEFAULT_CACHE_DIR,
    ...DEFAULT_PATIENCE,
  };
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const match = /^--?([a-z]+)(?:=(.*))?$/.exec(word);
    const apply = match && Object.hasOwn(FLAGS, match[1]!) ? FLAGS[match[1]!]! : undefined;
    if (!match || !apply)
      throw new UserError(
        `dhcp daemon: ${word} is none of its flags: ${Object.keys(FLAGS)
          .map((name) => `-${name}`)
          .join(', ')}`,
        2,
      );
    const flag = `-${match[1]}`;
    // A flag of two values may stand alone.
    const value = match[2] ?? (flag === '-broadcast' ? 'true' : rest.shift());
    if (value === undefined) throw new UserError(`dhcp daemon: ${flag} needs a value`, 2);
    apply(options, value, flag);
  }
  return options;
}

function absolute(flag: string, value: string): string {
  if (value.startsWith('/')) return value;
  throw wrong(flag, value, 'an absolute path');
}

/** All that Go takes for one. */
function flagOf(flag: string, value: string): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(value)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(value)) return false;
  throw wrong(flag, value, 'true or false');
}

function duration(flag: string, value: string): number {
  const ms = parseGoDurationMs(value);
  if (ms !== undefined && ms > 0) return ms;
  throw wrong(flag, value, 'a duration like 10s or 1m30s');
}

const wrong = (flag: string, value: string, accepted: string) =>
  new UserError(`dhcp daemon: ${flag} ${JSON.stringify(value)} is not ${accepted}`, 2);
