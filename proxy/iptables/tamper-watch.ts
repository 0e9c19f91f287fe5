import { eachAttribute, type Message } from '../../src/netfilter/nfnetlink/message.ts';
import { type NftMonitor, openNftMonitor } from '../../src/netfilter/nfnetlink/monitor.ts';
import {
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWRULE,
} from '../../src/netfilter/nfnetlink/nf-tables.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { CHAIN, isProxyChain } from './names.ts';
import { TABLES } from './shared-chains.ts';

/** Listens for what other programs do to our chains: iptables of the nft kind keeps its rules in nf_tables, which tells of every change. */
export interface TamperWatch {
  /** While we write ourselves: what is told then is our own work, and for 60,000 rules it would be 100 MB of messages. To be resumed as often. */
  pause(): void;
  resume(): void;
  /** For one IP family. Resolves when aborted. */
  run(family: IpFamily, signal: AbortSignal, onTampered: () => void): Promise<void>;
}

/** Two programs that both hold a chain for theirs would write it in turns, without pause; a repair of a large cluster takes seconds. */
const LEAST_INTERVAL_MS = 10_000;

/** One socket for both families: the kernel tells each listener of everything, and both have to be deaf while either of them writes. */
export function createTamperWatch(options: { netns?: string; clock: Clock }): TamperWatch {
  const { clock } = options;
  const reports = new Map<IpFamily, () => void>();
  let monitor: NftMonitor | undefined;
  let pauses = 0;

  function open(): NftMonitor {
    const tampered = new Set<IpFamily>();
    const opened = openNftMonitor({
      netns: options.netns,
      isForeign(message) {
        for (const family of reports.keys()) if (concernsProxy(message, family)) tampered.add(family);
        return tampered.size > 0;
      },
      onChanged(why) {
        // Messages that were lost, in a burst of somebody else's, are taken for a change of ours: the repair looks.
        for (const family of why === 'lost' ? reports.keys() : tampered) reports.get(family)?.();
        tampered.clear();
      },
    });
    if (pauses > 0) opened.pause();
    return opened;
  }

  return {
    pause() {
      if (++pauses === 1) monitor?.pause();
    },
    resume() {
      if (--pauses === 0) monitor?.resume();
    },
    async run(family, signal, onTampered) {
      if (signal.aborted) return;
      const { report, cancel } = atMostEvery(LEAST_INTERVAL_MS, clock, onTampered);
      reports.set(family, report);
      try {
        monitor ??= open();
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      } finally {
        cancel();
        reports.delete(family);
        if (reports.size === 0) {
          monitor?.close();
          monitor = undefined;
        }
      }
    },
  };
}

/** Calls at once, and what follows too early when it is time. */
function atMostEvery(intervalMs: number, clock: Clock, work: () => void) {
  let stop: (() => void) | undefined;
  let lastMs = Number.NEGATIVE_INFINITY;
  const call = () => {
    stop = undefined;
    lastMs = clock.monotonicMs();
    work();
  };
  return {
    report() {
      if (stop) return;
      const waitMs = lastMs + intervalMs - clock.monotonicMs();
      if (waitMs <= 0) call();
      else stop = clock.after(waitMs, call);
    },
    cancel: () => stop?.(),
  };
}

/** KUBE-FIREWALL is left to the next look: the kubelet may be at work on it. */
const isOwn = (chain: string) => chain !== CHAIN.firewall && isProxyChain(chain);

/**
 * Whether a message of nf_tables tells that a rule of ours, a jump to one of our chains, a chain or a whole table has gone, or that somebody
 * has put a rule into one of our chains.
 */
export function concernsProxy({ type, body }: Pick<Message, 'type' | 'body'>, family: IpFamily): boolean {
  const message = type & 0xff;
  if (body[0] !== (family === 'IPv4' ? NFPROTO_IPV4 : NFPROTO_IPV6)) return false;
  if (![NFT_MSG_NEWRULE, NFT_MSG_DELRULE, NFT_MSG_DELCHAIN, NFT_MSG_DELTABLE].includes(message)) return false;
  const names = new Map<number, string>();
  eachAttribute(body, 4, (attribute, value) => {
    // Table first; a rule's chain is its second attribute, a chain's own name its third.
    if (attribute <= 3 && value.length <= 64) names.set(attribute, value.toString('latin1').replace(/\0.*$/s, ''));
  });
  if (!TABLES.includes(names.get(1) as never)) return false;
  if (message === NFT_MSG_DELTABLE) return true;
  if (message === NFT_MSG_DELCHAIN) return isOwn(names.get(3) ?? '');
  if (isOwn(names.get(2) ?? '')) return true;
  // A jump holds the name of its chain, with a zero behind it.
  return message === NFT_MSG_DELRULE && jumpsOf(body).some(isOwn);
}

function jumpsOf(body: Buffer): string[] {
  return [...body.toString('latin1').matchAll(/(KUBE-[A-Z0-9-]{1,24})\0/g)].map(([, name]) => name!);
}
