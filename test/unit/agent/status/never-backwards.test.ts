/**
 * A pod's life by dice: containers start, end, get lost; probes change their minds; others write their conditions; the agent dies and comes
 * again. Whatever happens, what the API shows never goes backwards.
 */
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { isSidecar, restartsAfterExit } from '../../../../agent/containers/restart.ts';
import type { ContainerRuntimeStatus, ProbeResult, StatusManager } from '../../../../agent/pods/ports.ts';
import { computePodStatus } from '../../../../agent/status/compute.ts';
import { createStatusManager } from '../../../../agent/status/manager.ts';
import type { KubeClient } from '../../../../src/kube/client.ts';
import { strategicMerge } from '../../../../src/kube/schema/strategic-merge.ts';
import { schemaOf } from '../../../../src/kube/schema/tables.ts';
import type { Container, ContainerStatus, Pod, PodStatus } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { podOf } from '../pod.ts';
import { NOW_MS, observed, run } from './cases.ts';

const LIVES = 150;
const STEPS = 60;
const GATE = 'example.com/gate';

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Life {
  readonly random: () => number;
  pod: Pod;
  nowMs = NOW_MS;
  runs: ContainerRuntimeStatus[] = [];
  sandboxes = 0;
  waiting = new Map<string, { reason: string; message: string }>();
  probes = new Map<string, ProbeResult>();
  terminal = false;
  /** All that the API has ever shown. */
  readonly history: PodStatus[] = [];
  readonly log: string[] = [];
  #ids = 0;
  #attempts = new Map<string, number>();
  #manager!: StatusManager;
  #stop = new AbortController();
  #done: Promise<void> = Promise.resolve();

  constructor(seed: number) {
    this.random = dice(seed);
    const probe = { tcpSocket: { port: 1 } };
    const container = (name: string): Container =>
      ({
        name,
        image: 'i',
        ...(this.chance(0.5) && { readinessProbe: probe }),
        ...(this.chance(0.3) && { startupProbe: probe }),
      }) as Container;
    const init = (name: string): Container =>
      this.chance(0.5) ? { ...container(name), restartPolicy: 'Always' } : ({ name, image: 'i' } as Container);
    this.pod = podOf(
      {
        restartPolicy: this.pick(['Always', 'OnFailure', 'Never']),
        containers: ['a', 'b'].slice(0, 1 + this.below(2)).map(container),
        initContainers: ['x', 'y'].slice(0, this.below(3)).map(init),
        ...(this.chance(0.4) && { readinessGates: [{ conditionType: GATE }] }),
      },
      { generation: 1 },
    );
    this.begin();
  }

  chance(share: number): boolean {
    return this.random() < share;
  }
  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** An agent begins: it knows what the runtime and the API tell. */
  begin() {
    this.#stop = new AbortController();
    const client = {
      patch: async (_: unknown, { patch }: { patch: object }) => {
        const merged = strategicMerge(this.pod as never, patch as never, schemaOf('v1', 'Pod')!) as unknown as Pod;
        this.write(merged.status!);
        this.history.push(merged.status!);
        return this.pod;
      },
    } as unknown as KubeClient;
    this.#manager = createStatusManager({
      client,
      mirrors: { of: () => undefined },
      log: silentLogger,
      clock: systemClock,
    });
    this.#done = this.#manager.run(this.#stop.signal);
  }

  async restart() {
    this.#stop.abort();
    await this.#done;
    this.waiting.clear();
    this.probes.clear();
    this.begin();
  }

  write(status: PodStatus) {
    const resourceVersion = String(Number(this.pod.metadata.resourceVersion) + 1);
    this.pod = { ...this.pod, metadata: { ...this.pod.metadata, resourceVersion }, status };
  }

  newest(name: string) {
    return this.runs.find((one) => one.name === name);
  }
  get containers(): Container[] {
    return [...(this.pod.spec.initContainers ?? []), ...this.pod.spec.containers];
  }

  /** As the agent would: what ended for good is not started again, except in a new sandbox. */
  start(container: Container) {
    const record = this.newest(container.name);
    if (this.terminal || this.sandboxes === 0 || record?.state === 'running') return;
    const isPlainInit = container.restartPolicy !== 'Always' && this.pod.spec.initContainers?.includes(container);
    if (record?.state === 'exited' && !isPlainInit && !restartsAfterExit(this.pod, container, record.exitCode!)) return;
    if (isPlainInit && record?.exitCode === 0) return;
    if (isPlainInit && record && !restartsAfterExit(this.pod, container, record.exitCode ?? 1)) return;
    if (
      !record &&
      this.#attempts.has(container.name) &&
      this.pod.spec.restartPolicy !== 'Always' &&
      !isSidecar(container)
    )
      return;
    if (record?.state === 'created') record.state = 'running';
    else {
      const restartCount = this.#attempts.has(container.name) ? this.#attempts.get(container.name)! + 1 : 0;
      this.#attempts.set(container.name, restartCount);
      const state = this.chance(0.3) ? 'created' : 'running';
      const id = `id${this.#ids++}`;
      this.runs.unshift(
        run(container.name, { id, state, restartCount, createdAtMs: this.nowMs, startedAtMs: this.nowMs }),
      );
    }
    this.waiting.delete(container.name);
  }

  end(name: string, exitCode: number) {
    const record = this.newest(name);
    if (record?.state !== 'running') return;
    Object.assign(record, { state: 'exited', exitCode, finishedAtMs: this.nowMs });
  }

  step(): void {
    this.nowMs += this.below(5000);
    const container = this.pick(this.containers);
    const what = this.below(16);
    this.log.push(`${what} ${container.name}`);
    if (what <= 3) this.start(container);
    else if (what <= 6) this.end(container.name, this.pick([0, 0, 1, 137]));
    else if (what === 7) this.sandboxes = 1;
    else if (what === 8)
      this.runs = this.runs.filter((one) => one !== this.newest(container.name) || one.state === 'running');
    else if (what === 9) this.runs = this.runs.filter((one) => one === this.newest(one.name));
    else if (what === 10)
      this.waiting.set(container.name, { reason: this.pick(['ErrImagePull', 'CrashLoopBackOff']), message: 'm' });
    else if (what <= 12)
      this.probes.set(this.newest(container.name)?.id ?? '', this.pick(['success', 'success', 'failure']));
    else if (what === 13) {
      const others = (this.pod.status?.conditions ?? []).filter(({ type }) => type !== GATE);
      const gate = { type: GATE, status: this.pick(['True', 'False']), lastTransitionTime: '2026-01-01T00:00:00Z' };
      this.write({ ...this.pod.status, conditions: [...others, gate] });
    } else if (what === 14) this.pod.metadata = { ...this.pod.metadata, generation: this.pod.metadata.generation! + 1 };
    else if (this.chance(0.15)) {
      for (const { name } of this.containers) this.end(name, this.pick([0, 137]));
      this.terminal = true;
    }
  }

  async look(): Promise<void> {
    const view = {
      startup: (id: string) => this.probes.get(id),
      readiness: (id: string) => this.probes.get(id),
    };
    const status = computePodStatus(
      {
        pod: this.pod,
        runtime: observed([...this.runs], this.sandboxes > 0 && !this.terminal ? {} : null),
        waiting: this.waiting,
        previous: this.#manager.known(this.pod),
        terminal: this.terminal,
        nowMs: this.nowMs,
      },
      view,
      { hostIps: ['192.168.0.10'] },
    );
    this.#manager.set(this.pod, status);
    for (let round = 0; round < 4; round++) await turn();
  }

  async close() {
    this.#stop.abort();
    await this.#done;
  }
}

const conditionOf = (status: PodStatus, type: string) => status.conditions?.find((one) => one.type === type);
const isOver = ({ phase }: PodStatus) => phase === 'Succeeded' || phase === 'Failed';
const allStatuses = (status: PodStatus): ContainerStatus[] => [
  ...(status.initContainerStatuses ?? []),
  ...(status.containerStatuses ?? []),
];

/** What is wrong with showing `after` where `before` was shown. */
function complaints(pod: Pod, before: PodStatus | undefined, after: PodStatus): string[] {
  const found: string[] = [];
  const claim = (holds: unknown, what: string) => holds || found.push(what);
  const ready = conditionOf(after, 'Ready');
  claim(
    ready?.status !== 'True' || conditionOf(after, 'ContainersReady')?.status === 'True',
    'Ready without ContainersReady',
  );
  claim(!isOver(after) || ready?.status !== 'True', 'Ready though it is over');
  if (pod.spec.readinessGates?.length)
    claim(ready?.status !== 'True' || conditionOf(after, GATE)?.status === 'True', 'Ready though its gate is shut');
  for (const { name, ready: isReady, started, state } of allStatuses(after)) {
    claim(Object.keys(state ?? {}).length === 1, `${name} is in ${JSON.stringify(state)}`);
    const isPlainInit = pod.spec.initContainers?.some((one) => one.name === name && one.restartPolicy !== 'Always');
    if (!isPlainInit) claim(!isReady || (started && state?.running), `${name} is ready and does not run`);
  }
  if (!before) return found;
  claim(!isOver(before) || after.phase === before.phase, `phase ${before.phase} → ${after.phase}`);
  claim(after.startTime === before.startTime, 'startTime moved');
  claim((after.observedGeneration ?? 0) >= (before.observedGeneration ?? 0), 'observedGeneration went back');
  for (const now of after.conditions ?? []) {
    const was = conditionOf(before, now.type);
    if (!was || now.type === GATE) continue;
    const moved = now.lastTransitionTime !== was.lastTransitionTime;
    claim(!moved || now.status !== was.status, `${now.type} changed its time and not its status`);
    claim(now.lastTransitionTime! >= was.lastTransitionTime!, `${now.type} changed in the past`);
  }
  for (const was of allStatuses(before)) {
    const now = allStatuses(after).find(({ name }) => name === was.name)!;
    claim(now.restartCount >= was.restartCount, `${was.name}: restarts ${was.restartCount} → ${now.restartCount}`);
    claim(
      !was.lastState?.terminated || now.lastState?.terminated || now.state?.terminated,
      `${was.name} forgot its last end`,
    );
    const container = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].find(
      ({ name }) => name === was.name,
    )!;
    const isRegular = pod.spec.containers.includes(container);
    if (isRegular && was.state?.terminated && !now.state?.terminated)
      claim(restartsAfterExit(pod, container, was.state.terminated.exitCode), `${was.name} was revived`);
    if (was.state?.running && now.state?.running)
      claim(
        was.containerID !== now.containerID || was.state.running.startedAt === now.state.running.startedAt,
        `${was.name} started anew in its run`,
      );
  }
  return found;
}

test('what the API shows of a pod never goes backwards', async (t) => {
  let versions = 0;
  const seen = new Set<string>();
  for (let seed = 1; seed <= LIVES; seed++) {
    const life = new Life(seed);
    let checked = 0;
    for (let step = 0; step < STEPS; step++) {
      life.step();
      if (life.chance(0.05)) await life.restart();
      await life.look();
      for (; checked < life.history.length; checked++) {
        const found = complaints(life.pod, life.history[checked - 1], life.history[checked]!);
        if (found.length > 0)
          return t.fail(`seed ${seed}, step ${step} (${life.log.slice(-5).join(', ')}): ${found.join('; ')}
${JSON.stringify(life.history[checked - 1], undefined, 1)}
${JSON.stringify(life.history[checked], undefined, 1)}`);
        versions++;
        seen.add(life.history[checked]!.phase!);
      }
    }
    await life.close();
  }
  t.true(versions > LIVES * 5, `${versions} versions`);
  t.deepEqual([...seen].sort(), ['Failed', 'Pending', 'Running', 'Succeeded']);
});
