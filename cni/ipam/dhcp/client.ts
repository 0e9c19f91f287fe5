import { randomInt } from 'node:crypto';
import { closeSync, writeSync } from 'node:fs';
import { parseIp } from '../../../src/linux/ip.ts';
import { bindInternet, connectInternet, SyscallError, setSocketOption, udpSocket } from '../../../src/linux/libc.ts';
import { inNetns } from '../../../src/linux/netns.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { CNI_ERROR, CniError } from '../../types.ts';
import { CLIENT_PORT, renderDatagram, SERVER_PORT } from './datagram.ts';
import { type ClientLink, type Exchange, openExchange } from './exchange.ts';
import { type DhcpMessage, MESSAGE_TYPE, OPTION, renderMessage } from './message.ts';
import { addressesOf, type ClientOptions, isUsableAddress } from './options.ts';
import type { Readiness } from './readiness.ts';

/** How long a client is patient; the flags of `dhcp daemon`. */
export interface ClientPatience {
  /** For each question. */
  timeoutMs: number;
  /** The longest pause between tries to get a lease. */
  resendMaxMs: number;
  /** After this long no further try. */
  resendTimeoutMs: number;
}

/** Who asks: the server knows a client by its identifier. */
export interface Client {
  link: ClientLink;
  /** Option 61, with its type byte. */
  clientId: Uint8Array;
  options: ClientOptions;
  /** Ask for answers by broadcast. */
  broadcast: boolean;
}

/** What the server granted. */
export interface Grant {
  ack: DhcpMessage;
  address: string;
  /** Option 54; undefined when the server did not name itself. */
  server: string | undefined;
  /** When it was asked for, by the monotonic clock. */
  sinceMs: number;
}

/** A client's part of RFC 2131 over one link; it keeps nothing. */
export interface DhcpClient {
  /**
   * DISCOVER, OFFER, REQUEST, ACK, again and again with growing pauses.
   * @param wanted an address to have again, if the server agrees
   * @throws CniError 11 when the patience is over.
   */
  acquire(client: Client, wanted?: string, signal?: AbortSignal): Promise<Grant>;
  /**
   * REQUEST for an address that the client has: to its server alone, or to all (`everybody`).
   * @returns 'refused' for a NAK, undefined when nobody answered.
   */
  renew(
    client: Client,
    grant: Pick<Grant, 'address' | 'server'>,
    to: 'server' | 'everybody',
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Grant | 'refused' | undefined>;
  /** RELEASE; nobody answers to it. */
  release(client: Client, grant: Pick<Grant, 'address' | 'server'>): void;
}

const BROADCAST = '255.255.255.255';
const NOBODY = '0.0.0.0';
const EVERY_MAC = new Uint8Array(6).fill(0xff);
/** The reference plugin's: four quick tries, then pauses from 4 s on, doubled, ± 1 s. */
const QUICK_TRIES = 4;
const QUICK_PAUSE_MS = 2000;
const FIRST_PAUSE_MS = 4000;
const JITTER_MS = 1000;
/** What an Ethernet link carries; a server must not send more. */
const LARGEST_MESSAGE_BYTES = 1472;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

export function createDhcpClient(
  patience: ClientPatience,
  deps: { clock: Clock; readiness: Readiness; random?: () => number },
): DhcpClient {
  const { clock, random = Math.random } = deps;

  function messageOf(client: Client, type: number, transaction: number, sinceMs: number, more: Partial<DhcpMessage>) {
    const { link, clientId, options, broadcast } = client;
    const own = new Map<number, Uint8Array>([
      [OPTION.messageType, Buffer.from([type])],
      [OPTION.clientIdentifier, clientId],
    ]);
    if (type !== MESSAGE_TYPE.release) {
      own.set(OPTION.largestMessage, Buffer.from([LARGEST_MESSAGE_BYTES >> 8, LARGEST_MESSAGE_BYTES & 0xff]));
      if (options.request.length > 0) own.set(OPTION.parameterRequestList, Buffer.from(options.request));
    }
    // A server finds a lease by the identifier that it was given to.
    for (const [code, value] of options.provide)
      if (type !== MESSAGE_TYPE.release || code === OPTION.clientIdentifier) own.set(code, value);
    for (const [code, value] of more.options ?? []) own.set(code, value);
    return renderMessage({
      op: 'request',
      transaction,
      seconds: Math.floor((clock.monotonicMs() - sinceMs) / 1000),
      broadcast: broadcast || link.sharesHardwareAddress,
      clientAddress: more.clientAddress ?? NOBODY,
      yourAddress: NOBODY,
      hardwareAddress: link.hardwareAddress,
      options: own,
    });
  }

  function toEverybody(exchange: Exchange, source: string, message: Buffer): void {
    const ports = { sourcePort: CLIENT_PORT, destinationPort: SERVER_PORT };
    exchange.socket.send(renderDatagram({ source, destination: BROADCAST, ...ports, payload: message }), EVERY_MAC);
  }

  async function tryOnce(
    exchange: Exchange,
    client: Client,
    wanted: string | undefined,
    beganMs: number,
    signal?: AbortSignal,
  ) {
    const transaction = randomInt(2 ** 32);
    const { timeoutMs } = patience;
    const asked: [number, Uint8Array][] = wanted ? [[OPTION.requestedAddress, parseIp(wanted)]] : [];
    const message = (type: number, options: [number, Uint8Array][]) =>
      messageOf(client, type, transaction, beganMs, { options: new Map(options) });
    const offer = await exchange.ask({
      send: () => toEverybody(exchange, NOBODY, message(MESSAGE_TYPE.discover, asked)),
      transaction,
      accept: (answer) =>
        typeOf(answer) === MESSAGE_TYPE.offer && isUsableAddress(answer.yourAddress) ? answer : undefined,
      timeoutMs,
      signal,
    });
    if (!offer) return 'no server answered';
    const server = addressesOf(offer, OPTION.serverIdentifier)[0];
    const request: [number, Uint8Array][] = [[OPTION.requestedAddress, parseIp(offer.yourAddress)]];
    if (server) request.push([OPTION.serverIdentifier, parseIp(server)]);
    const sinceMs = clock.monotonicMs();
    const answer = await exchange.ask({
      send: () => toEverybody(exchange, NOBODY, message(MESSAGE_TYPE.request, request)),
      transaction,
      accept: grantOrRefusal(sinceMs),
      timeoutMs,
      signal,
    });
    if (answer === 'refused') return `the server refused ${offer.yourAddress}, which it had offered`;
    return answer ?? `the server fell silent after it had offered ${offer.yourAddress}`;
  }

  return {
    async acquire(client, wanted, signal) {
      const beganMs = clock.monotonicMs();
      const exchange = openExchange(client.link, deps);
      try {
        let pauseMs = FIRST_PAUSE_MS;
        for (let tries = 1; ; tries++) {
          const outcome = await tryOnce(exchange, client, wanted, beganMs, signal).catch(asReason);
          if (typeof outcome !== 'string') return outcome;
          const isQuick = tries <= QUICK_TRIES;
          const nextMs = (isQuick ? QUICK_PAUSE_MS : pauseMs) + JITTER_MS * (2 * random() - 1);
          if (!isQuick && pauseMs < patience.resendMaxMs) pauseMs *= 2;
          const spentMs = clock.monotonicMs() - beganMs;
          if (spentMs + nextMs > patience.resendTimeoutMs) throw noMoreTries(client, outcome, tries, spentMs);
          await clock.sleep(nextMs, signal);
        }
      } finally {
        exchange.close();
      }
    },

    async renew(client, { address, server }, to, timeoutMs, signal) {
      const sinceMs = clock.monotonicMs();
      const transaction = randomInt(2 ** 32);
      const message = () => messageOf(client, MESSAGE_TYPE.request, transaction, sinceMs, { clientAddress: address });
      const exchange = openExchange(client.link, deps);
      const unicast = to === 'server' && server ? tryUnicast(client.link.netns, address, server) : undefined;
      try {
        return await exchange.ask({
          send: () => (unicast ? unicast.send(message()) : toEverybody(exchange, address, message())),
          transaction,
          accept: grantOrRefusal(sinceMs),
          timeoutMs,
          signal,
        });
      } finally {
        unicast?.close();
        exchange.close();
      }
    },

    release(client, { address, server }) {
      if (!server) return;
      const options = new Map([[OPTION.serverIdentifier, parseIp(server)]]);
      const now = clock.monotonicMs();
      const message = messageOf(client, MESSAGE_TYPE.release, randomInt(2 ** 32), now, {
        clientAddress: address,
        options,
      });
      const unicast = tryUnicast(client.link.netns, address, server);
      try {
        if (unicast) return unicast.send(message);
        // The link does not have the address (any more): only a frame of our own can say so.
        const exchange = openExchange(client.link, deps);
        try {
          toEverybody(exchange, address, message);
        } finally {
          exchange.close();
        }
      } finally {
        unicast?.close();
      }
    },
  };
}

const typeOf = (message: DhcpMessage) => message.options.get(OPTION.messageType)?.[0];

/** What an acknowledgement grants, beside since when. */
export function grantOf(ack: DhcpMessage): Omit<Grant, 'sinceMs'> {
  return { ack, address: ack.yourAddress, server: addressesOf(ack, OPTION.serverIdentifier)[0] };
}

function grantOrRefusal(sinceMs: number) {
  return (answer: DhcpMessage): Grant | 'refused' | undefined => {
    if (typeOf(answer) === MESSAGE_TYPE.nak) return 'refused';
    if (typeOf(answer) !== MESSAGE_TYPE.ack || !isUsableAddress(answer.yourAddress)) return undefined;
    return { ...grantOf(answer), sinceMs };
  };
}

/** From an address that the link has by now: routes and neighbours are the kernel's business. undefined when the link does not have it. */
function tryUnicast(netns: string, address: string, server: string) {
  const fd = inNetns<number>(netns, () => udpSocket(4));
  try {
    setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1, 'SO_REUSEADDR');
    bindInternet(fd, parseIp(address), CLIENT_PORT);
    connectInternet(fd, parseIp(server), SERVER_PORT);
  } catch (error) {
    closeSync(fd);
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRNOTAVAIL' || code === 'ENETUNREACH' || code === 'EADDRINUSE') return undefined;
    throw error;
  }
  return { send: (message: Buffer) => void writeSync(fd, message), close: () => closeSync(fd) };
}

/** A link that is down may come up again; one that is gone does not. */
function asReason(error: unknown): string {
  if (error instanceof SyscallError && error.code === 'ENETDOWN') return error.message;
  throw error;
}

function noMoreTries({ link }: Client, why: string, tries: number, spentMs: number): CniError {
  return new CniError(CNI_ERROR.tryAgainLater, `no DHCP lease for ${link.name}: ${why}`, {
    details: `${tries} tries in ${Math.round(spentMs / 1000)} s on ${link.name} of ${link.netns}; is a DHCP server on that network?`,
  });
}
