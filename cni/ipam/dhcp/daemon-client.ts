import type { AttachRequest, DetachRequest } from '../../types.ts';
import { CNI_ERROR, CniError } from '../../types.ts';
import { CMD_ARGS, type DaemonCall, METHOD, parseDaemonResult, renderCall } from './daemon-words.ts';
import type { GobValue } from './gob/values.ts';
import { checkAddress, type DhcpConfig, type LeaseHolder } from './lease-holder.ts';
import { withResultOptions } from './options.ts';
import { callRpc, NotRpcError, RpcError } from './rpc/client.ts';
import { CANNOT_FIND } from './rpc/headers.ts';

/** Longer than a daemon is patient, the reference one of Debian too (232 s): it tells itself what went wrong. */
const TIMEOUT_MS = 300_000;
/** What the reference daemon says when its patience is over. */
const NO_MORE_TRIES = 'no more tries';

/** Leases of a daemon behind a socket: ours, or the reference plugin's, which has neither CHECK nor GC nor STATUS. */
export function createDaemonClient(socketPath: string): LeaseHolder & { status(): Promise<void> } {
  async function call(method: string, words: DaemonCall): Promise<GobValue> {
    try {
      return await callRpc({ socketPath, method, schema: CMD_ARGS, args: renderCall(words), timeoutMs: TIMEOUT_MS });
    } catch (error) {
      throw asCniError(error as Error, method, socketPath);
    }
  }

  /** For what the reference daemon does not have. */
  async function callOrElse(method: string, words: DaemonCall, otherwise: () => Promise<void>): Promise<void> {
    try {
      await call(method, words);
    } catch (error) {
      if (!(error as Error).message.startsWith(CANNOT_FIND)) throw error;
      await otherwise();
    }
  }

  async function allocate(config: DhcpConfig, request: AttachRequest) {
    const result = parseDaemonResult(await call(METHOD.allocate, wordsOf(config, request)));
    // Those of Debian's age do not know them all.
    return withResultOptions(result, config.result);
  }

  return {
    allocate,
    async release(config, request) {
      await call(METHOD.release, wordsOf(config, request));
    },
    async check(config, request, address) {
      await callOrElse(METHOD.check, { ...wordsOf(config, request), address }, async () => {
        // Its own plugin does so as well: a lease that is there comes back as it is.
        const { ips } = await allocate(config, request);
        checkAddress(ips[0]?.address.split('/')[0] ?? 'nothing', address);
      });
    },
    async collect(config, valid) {
      await callOrElse(METHOD.gc, { ...wordsOf(config), valid }, async () => {});
    },
    async status() {
      await callOrElse(METHOD.status, wordsOf(), async () => {});
    },
  };
}

function wordsOf(config?: DhcpConfig, request?: DetachRequest): DaemonCall {
  return {
    containerId: request?.containerId ?? '',
    netns: request?.netns ?? '',
    ifname: request?.ifname ?? '',
    args: Object.entries(request?.args ?? {})
      .map((pair) => pair.join('='))
      .join(';'),
    conf: JSON.stringify(config?.raw ?? {}),
  };
}

function asCniError(error: Error, method: string, socketPath: string): CniError {
  if (error instanceof RpcError) {
    const isPatienceOver = error.message === NO_MORE_TRIES;
    const message = error.code === undefined ? `${error.message} (the DHCP daemon on ${socketPath})` : error.message;
    const code = error.code ?? (isPatienceOver ? CNI_ERROR.tryAgainLater : CNI_ERROR.unknown);
    return new CniError(code, message, { details: error.details, cause: error });
  }
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ECONNREFUSED')
    return new CniError(CNI_ERROR.notAvailable, `error dialing DHCP daemon: nobody listens on ${socketPath}`, {
      details: "start 'dhcp daemon' (of the directory of the plugins) or 'berth cni dhcp-daemon'",
    });
  if (error instanceof NotRpcError)
    return new CniError(CNI_ERROR.notAvailable, `dhcp: what listens on ${socketPath} is no DHCP daemon`, {
      details: `${error.message}; stop it and start 'dhcp daemon' there, or name another socket in ipam.daemonSocketPath`,
    });
  return new CniError(CNI_ERROR.ioFailure, `dhcp: ${method} of the daemon on ${socketPath}: ${error.message}`, {
    cause: error,
  });
}
