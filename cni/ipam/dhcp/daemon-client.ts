import type { AttachmentKey } from '../../types.ts';
import { CNI_ERROR, CniError } from '../../types.ts';
import { type AnswerBody, parseAck, type RequestBody, renderRequest } from './daemon-words.ts';
import type { LeaseKey } from './lease-files.ts';
import type { DhcpLeases, LeaseRequest } from './leases.ts';
import type { DhcpMessage } from './message.ts';

/** Who keeps leases: this process, or a daemon. */
export interface LeaseHolder {
  allocate(request: LeaseRequest): Promise<DhcpMessage>;
  release(key: LeaseKey): Promise<void>;
  held(key: LeaseKey): Promise<DhcpMessage | undefined>;
  collect: DhcpLeases['collect'];
}

/** Patience of the daemon and a little more: it tells itself what went wrong. */
const TIMEOUT_MS = 230_000;

/** Leases of a daemon behind a socket. Every call is a connection of its own; one that is cut off ends what it waits for. */
export function createDaemonClient(socketPath: string): LeaseHolder & { ping(): Promise<void> } {
  async function call(path: string, body: RequestBody): Promise<AnswerBody> {
    // A program that asks for no lease does not load it.
    const { request } = await import('node:http');
    const { statusCode, text } = await new Promise<{ statusCode: number | undefined; text: string }>(
      (resolve, reject) => {
        const sent = request(
          { socketPath, path, method: 'POST', timeout: TIMEOUT_MS, headers: { 'content-type': 'application/json' } },
          (response) => {
            let received = '';
            response.setEncoding('utf8');
            response.on('data', (chunk: string) => (received += chunk));
            response.on('end', () => resolve({ statusCode: response.statusCode, text: received }));
            response.on('error', reject);
          },
        );
        sent.on('timeout', () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
        sent.on('error', reject);
        sent.end(JSON.stringify(body));
      },
    ).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') throw nobodyListens(socketPath);
      throw new CniError(CNI_ERROR.ioFailure, `dhcp: the daemon on ${socketPath}: ${error.message}`, { cause: error });
    });
    const answer = parseAnswer(text);
    if (!answer) throw foreignDaemon(socketPath, statusCode, text);
    if (answer.error) throw new CniError(answer.error.code, answer.error.msg, { details: answer.error.details });
    return answer;
  }

  return {
    async allocate(request) {
      return parseAck((await call('/v1/allocate', renderRequest(request))).ack ?? '');
    },
    async release(key) {
      await call('/v1/release', { key });
    },
    async held(key) {
      const { ack } = await call('/v1/held', { key });
      return ack === undefined ? undefined : parseAck(ack);
    },
    async collect(network: string, valid: readonly AttachmentKey[]) {
      await call('/v1/collect', { network, valid });
    },
    async ping() {
      await call('/v1/ping', {});
    },
  };
}

function parseAnswer(text: string): AnswerBody | undefined {
  try {
    const answer = JSON.parse(text) as AnswerBody;
    return answer.daemon === 'berth' ? answer : undefined;
  } catch {
    return undefined;
  }
}

function foreignDaemon(socketPath: string, statusCode: number | undefined, text: string): CniError {
  return new CniError(
    CNI_ERROR.notAvailable,
    `dhcp: what listens on ${socketPath} is not Berth's daemon; the reference plugins' speaks another protocol`,
    {
      details: `it answered ${statusCode}: ${text.slice(0, 200).trim()}; stop it and start 'dhcp daemon' of our plugins, or use the plugin that it came with`,
    },
  );
}

function nobodyListens(socketPath: string): CniError {
  return new CniError(CNI_ERROR.notAvailable, `error dialing DHCP daemon: nobody listens on ${socketPath}`, {
    details: "start 'dhcp daemon' (of the directory of the plugins) or 'berth cni dhcp-daemon'",
  });
}
