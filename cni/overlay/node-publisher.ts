import type { KubeClient } from '../../src/kube/client.ts';
import { nodes } from '../../src/kube/resources.ts';
import type { Node } from '../../src/kube/types.ts';
import { createBoundedRunner } from '../../src/runtime/bounded-runner.ts';
import { type Clock, timestamp } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type AnnotationKeys, diffAnnotations, readOverwrites } from './annotations.ts';
import type { PerFamily } from './backend.ts';

/** What the other nodes must know of this one. */
export interface Publication {
  backendType: string;
  publicIps: PerFamily<string>;
  data: PerFamily<unknown>;
}

export interface NodePublisher {
  /** From now on the Node object is to say this; `undefined` as long as there is nothing to say. */
  say(publication: Publication): void;
  /** Somebody has changed the Node object: perhaps it says something else now. */
  look(): void;
  /** The object says it: as far as the last look. */
  isDone(): boolean;
  run(signal: AbortSignal): Promise<void>;
}

const MIN_INTERVAL_MS = 200;
const RECHECK_MS = 60_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;
/** Who writes what we wrote a moment ago does it on purpose: from the second time on we answer more and more seldom. */
const QUIET_MS = 60_000;
const REWRITE_FIRST_MS = 1_000;
const REWRITE_LAST_MS = 60_000;
/** The fourth time within the minute. */
const RIVAL_MS = 8_000;

/**
 * Keeps this node's annotations, and its condition NetworkUnavailable=False, as flanneld does: one patch of `nodes/status`, only when
 * something differs. It works beside the kernel's part, which must not wait for an API server that is away.
 */
export function createNodePublisher(
  options: { nodeName: string; keys: AnnotationKeys; setNetworkUnavailable: boolean },
  deps: {
    client: Pick<KubeClient, 'patch'>;
    /** The Node object as last seen. */
    ownNode(): Node | undefined;
    log: Logger;
    clock: Clock;
  },
): NodePublisher {
  const { nodeName, keys } = options;
  const { client, log, clock } = deps;
  let wanted: Publication | undefined;
  let done = false;
  let failures = 0;
  let lastPatchMs = Number.NEGATIVE_INFINITY;
  let spacingMs = 0;
  let cancelLater: (() => void) | undefined;
  let told = '';

  /**
   * Two hosts of one name, or two overlays on one host, would write ten times a second by turns otherwise, and all other nodes' entries would
   * follow each time. @returns whether the time for a patch has come.
   */
  function isTimely(): boolean {
    const waitMs = lastPatchMs + spacingMs - clock.monotonicMs();
    if (waitMs <= 0) return true;
    cancelLater ??= clock.after(waitMs, () => {
      cancelLater = undefined;
      runner.request();
    });
    return false;
  }

  function notePatch(node: Node): void {
    const nowMs = clock.monotonicMs();
    const isQuiet = nowMs - lastPatchMs > QUIET_MS + spacingMs;
    spacingMs = isQuiet ? REWRITE_FIRST_MS : Math.min(Math.max(spacingMs * 2, REWRITE_FIRST_MS), REWRITE_LAST_MS);
    lastPatchMs = nowMs;
    if (spacingMs !== RIVAL_MS) return;
    const found = Object.values(keys.publicIp).flatMap((key) => node.metadata.annotations?.[key] ?? []);
    log.warn(
      { node: nodeName, found },
      "somebody else writes this node's annotations, or its condition NetworkUnavailable, again and again: another host of the same name, or another overlay on this one?",
    );
  }

  /** Each once. */
  function tellProblems(node: Node): void {
    const problems = readOverwrites(node.metadata.annotations, keys).problems.join('; ');
    if (problems !== '' && problems !== told)
      log.warn({ node: nodeName, problems }, 'what this node is to say of its address is passed over');
    told = problems;
  }

  function computePatch(node: Node, publication: Publication): object | undefined {
    const annotations = diffAnnotations(node.metadata.annotations, publication, keys);
    const conditions = options.setNetworkUnavailable ? computeConditions(node) : [];
    if (Object.keys(annotations).length === 0 && conditions.length === 0) return undefined;
    return { metadata: { annotations }, ...(conditions.length > 0 && { status: { conditions } }) };
  }

  function computeConditions(node: Node): object[] {
    const now = node.status?.conditions?.find(({ type }) => type === 'NetworkUnavailable');
    if (now?.status === 'False') return [];
    const time = timestamp(clock.nowMs());
    return [
      {
        type: 'NetworkUnavailable',
        status: 'False',
        reason: 'FlannelIsUp',
        message: 'Flannel is running on this node',
        lastTransitionTime: time,
        lastHeartbeatTime: time,
      },
    ];
  }

  const runner = createBoundedRunner({
    clock,
    minIntervalMs: MIN_INTERVAL_MS,
    maxIntervalMs: RECHECK_MS,
    retryMs: () => Math.min(RETRY_FIRST_MS * 2 ** Math.min(failures, 10), RETRY_LAST_MS),
    async run(signal) {
      const node = deps.ownNode();
      if (!wanted || !node) return;
      tellProblems(node);
      const patch = computePatch(node, wanted);
      if (patch && !isTimely()) {
        done = false;
        return;
      }
      if (patch) {
        await client.patch(nodes, { name: nodeName, subresource: 'status', type: 'strategic', patch, signal });
        notePatch(node);
        log.info({ node: nodeName, patch }, "the node's annotations say how its pods are reached");
      }
      done = true;
      failures = 0;
    },
    onError(error, retryMs) {
      failures++;
      log.warn(
        { err: error, retryMs },
        "this node's annotations could not be written: other nodes don't know (yet) how to reach its pods",
      );
    },
  });

  return {
    say(publication) {
      // What this node itself has to say anew does not wait.
      spacingMs = 0;
      wanted = publication;
      done = false;
      runner.request();
    },
    look: () => runner.request(),
    isDone: () => done,
    async run(signal) {
      await runner.run(signal);
      cancelLater?.();
    },
  };
}
