import { netnsId } from '../../../src/linux/netns.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { type AttachmentKey, CNI_ERROR, CniError } from '../../types.ts';
import { type Client, type ClientPatience, createDhcpClient, type Grant, grantOf } from './client.ts';
import { ensureUp, findClientLink, takeDown } from './client-link.ts';
import { clientIdOf, createLeaseFiles, type LeaseKey, type LeaseRecord } from './lease-files.ts';
import { keepLease } from './lease-keeper.ts';
import { type DhcpMessage, parseMessage, renderMessage } from './message.ts';
import type { ClientOptions } from './options.ts';
import { createReadiness } from './readiness.ts';

export interface LeaseRequest {
  key: LeaseKey;
  /** Path of the container's namespace, as this process sees it. */
  netns: string;
  options: ClientOptions;
  /** An address to have and no other: the container has it already. */
  only?: string;
}

/** All DHCP leases that this process keeps: renewed in their containers' namespaces until they are released or their links are gone. */
export interface DhcpLeases {
  /**
   * The lease of the attachment, an existing one as it is.
   * @throws CniError 11 when no server gives one; 8 when namespace or link are not there.
   */
  allocate(request: LeaseRequest, signal?: AbortSignal): Promise<DhcpMessage>;
  /** Gives it back to its server, as far as there is still a link to tell it by. A lease that nobody has is fine. */
  release(key: LeaseKey): Promise<void>;
  /** The acknowledgement of a lease that is kept; undefined when there is none (any more). */
  held(key: LeaseKey): DhcpMessage | undefined;
  /** Releases what is in no list. */
  collect(network: string, valid: readonly AttachmentKey[]): Promise<void>;
  /** Goes on with the leases of a process before. Done once, before the first call. */
  restore(): void;
  /** Ends the keeping and leaves all leases as they are. */
  close(): Promise<void>;
}

export interface DhcpLeasesOptions extends ClientPatience {
  /** Where leases are written for a process after this one. */
  stateDir: string;
  /** Ask for answers by broadcast. */
  broadcast: boolean;
}

export const DEFAULT_PATIENCE: ClientPatience = { timeoutMs: 10_000, resendMaxMs: 62_000, resendTimeoutMs: 208_000 };

interface Held {
  record: LeaseRecord;
  grant: Grant;
  stop: AbortController;
  ended: Promise<unknown>;
}

export function createDhcpLeases(options: DhcpLeasesOptions, deps: { clock: Clock; log: Logger }): DhcpLeases {
  const { clock, log } = deps;
  const client = createDhcpClient(options, { clock, readiness: createReadiness() });
  const files = createLeaseFiles(options.stateDir);
  const leases = new Map<string, Held>();
  const underWay = new Map<string, { stop: AbortController; done: Promise<unknown> }>();

  async function clientOf(
    record: Pick<LeaseRecord, 'key' | 'netns' | 'options' | 'broadcast'>,
  ): Promise<Client | undefined> {
    const link = await findClientLink(record.netns, record.key.ifname);
    const clientId = Buffer.concat([Buffer.from([0]), Buffer.from(clientIdOf(record.key))]);
    return link && { link, clientId, options: record.options, broadcast: record.broadcast };
  }

  /** Keeps it in the background. */
  function keep(record: LeaseRecord, grant: Grant): void {
    const id = clientIdOf(record.key);
    const stop = new AbortController();
    const held: Held = { record, grant, stop, ended: Promise.resolve() };
    const name = { container: record.key.containerId, network: record.key.network, link: record.key.ifname };
    const keeping = keepLease(
      grant,
      {
        client,
        clock,
        log: log.child(name),
        timeoutMs: options.timeoutMs,
        find: async () => (netnsId(record.netns) === record.netnsId ? clientOf(record) : undefined),
        onRenewed(renewed) {
          held.grant = renewed;
          held.record = recordOf(record, renewed);
          files.write(held.record);
        },
      },
      stop.signal,
    );
    held.ended = keeping
      .then(async (end) => {
        leases.delete(id);
        files.remove(record.key);
        if (end === 'gone')
          return log.info({ ...name, address: grant.address }, 'the link is gone: its DHCP lease is kept no longer');
        log.error(
          { ...name, address: grant.address },
          'the DHCP lease is lost: taking the link down, the address may be somebody else’s',
        );
        await takeDown(record.netns, record.key.ifname);
      })
      .catch((error) => {
        if (!stop.signal.aborted) log.error({ ...name, err: error }, 'keeping a DHCP lease failed');
      });
    leases.set(id, held);
  }

  function recordOf(from: Omit<LeaseRecord, 'ack' | 'sinceMs'>, grant: Grant): LeaseRecord {
    const sinceMs = clock.nowMs() - (clock.monotonicMs() - grant.sinceMs);
    return { ...from, ack: renderMessage(grant.ack), sinceMs };
  }

  async function acquire(request: LeaseRequest, signal: AbortSignal): Promise<DhcpMessage> {
    const { key, netns } = request;
    const identity = netnsId(netns);
    const record = { key, netns, netnsId: identity ?? '', options: request.options, broadcast: options.broadcast };
    const found = identity && (await clientOf(record));
    if (!found)
      throw new CniError(CNI_ERROR.invalidNetns, `dhcp: there is no link ${key.ifname} in ${netns}`, {
        details: 'the interface plugin must make it before it asks for an address',
      });
    await ensureUp(netns, found.link);
    const grant = await client.acquire(found, request.only, signal);
    if (request.only !== undefined && grant.address !== request.only) {
      client.release(found, grant);
      throw new CniError(
        CNI_ERROR.unknown,
        `dhcp: the server gives ${grant.address}, but the container has ${request.only}`,
      );
    }
    const whole = recordOf(record, grant);
    files.write(whole);
    keep(whole, grant);
    log.info(
      { container: key.containerId, network: key.network, link: key.ifname, address: grant.address },
      'DHCP lease acquired',
    );
    return grant.ack;
  }

  async function release(key: LeaseKey): Promise<void> {
    const id = clientIdOf(key);
    const pending = underWay.get(id);
    if (pending) {
      pending.stop.abort(new CniError(CNI_ERROR.unknown, 'dhcp: the attachment was detached meanwhile'));
      await pending.done.catch(() => {});
    }
    const held = leases.get(id);
    if (!held) return;
    leases.delete(id);
    held.stop.abort();
    await held.ended;
    try {
      const found = netnsId(held.record.netns) === held.record.netnsId ? await clientOf(held.record) : undefined;
      if (found) client.release(found, held.grant);
    } catch (error) {
      // It runs out by itself; the container is to go all the same.
      log.warn({ err: error, address: held.grant.address }, 'the DHCP server could not be told of a release');
    }
    files.remove(key);
  }

  return {
    allocate(request, signal) {
      const id = clientIdOf(request.key);
      const existing = leases.get(id);
      if (existing) return Promise.resolve(existing.grant.ack);
      if (underWay.has(id))
        return Promise.reject(
          new CniError(CNI_ERROR.tryAgainLater, `dhcp: a lease for ${id} is being acquired already`),
        );
      const stop = new AbortController();
      const done = acquire(request, signal ? AbortSignal.any([signal, stop.signal]) : stop.signal);
      underWay.set(id, { stop, done });
      return done.finally(() => underWay.delete(id));
    },

    release,
    held: (key) => leases.get(clientIdOf(key))?.grant.ack,

    async collect(network, valid) {
      const keep = new Set(valid.map((attachment) => clientIdOf({ ...attachment, network })));
      for (const [id, { record }] of [...leases])
        if (record.key.network === network && !keep.has(id)) await release(record.key);
    },

    restore() {
      const onBroken = (path: string, error: unknown) =>
        log.warn({ err: error, path }, 'a DHCP lease file can’t be read');
      for (const record of files.list(onBroken)) {
        const ack = parseMessage(record.ack);
        if (!ack || netnsId(record.netns) !== record.netnsId) {
          files.remove(record.key);
          continue;
        }
        // A clock that was set back must not make it longer than it was granted.
        const ageMs = Math.max(0, clock.nowMs() - record.sinceMs);
        keep(record, { ...grantOf(ack), sinceMs: clock.monotonicMs() - ageMs });
      }
    },

    async close() {
      for (const { stop } of [...leases.values(), ...underWay.values()]) stop.abort(new Error('the DHCP client ends'));
      await Promise.all([
        ...[...leases.values()].map(({ ended }) => ended),
        ...[...underWay.values()].map(({ done }) => done.catch(() => {})),
      ]);
      leases.clear();
    },
  };
}
