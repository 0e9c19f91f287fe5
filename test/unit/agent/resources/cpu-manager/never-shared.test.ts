/**
 * Pods come and go at random, starts overlap admissions, the agent is restarted now and then: at no moment does a container run on a CPU that is
 * another's own. What is watched are the cpusets that the (fake) Engine has; who should have CPUs of its own is told from the pods alone.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate as tick } from 'node:timers/promises';
import test from 'ava';
import { LABEL } from '../../../../../agent/containers/identity.ts';
import { createCpuManager } from '../../../../../agent/resources/cpu-manager/cpu-manager.ts';
import { buildCpuTopology } from '../../../../../agent/resources/cpu-manager/cpu-topology.ts';
import { type CpusetKeeper, createCpusetKeeper } from '../../../../../agent/resources/cpu-manager/cpuset-keeper.ts';
import { parseCpuPolicyOptions } from '../../../../../agent/resources/cpu-manager/policy-options.ts';
import { createManagerMetrics } from '../../../../../agent/resources/topology/manager-metrics.ts';
import { createTopologyManager } from '../../../../../agent/resources/topology/topology-manager.ts';
import type { Pod } from '../../../../../src/kube/types.ts';
import { formatCpuList, parseCpuList } from '../../../../../src/linux/cpu-list.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { Registry } from '../../../../../src/runtime/metrics.ts';
import { createSerial } from '../../../../../src/runtime/serial.ts';
import { createFakeClock, settle } from '../../../../fakes/clock.ts';
import { createFakeDocker } from '../../../../fakes/docker.ts';
import { machineOf } from '../../../../support/fake-machine.ts';
import { podOf, resources } from '../../pod.ts';

const CPUS = 16;
const RESERVED = '0,8';

/** The oracle's own reading of the kernel's list. */
function bitsOf(list: string): number {
  let bits = 0;
  for (const part of list.split(',')) {
    const [first, last = first] = part.split('-').map(Number);
    for (let cpu = first!; cpu <= last!; cpu++) bits |= 1 << cpu;
  }
  return bits;
}

for (const options of [
  {},
  { 'full-pcpus-only': 'true' },
  { 'strict-cpu-reservation': 'true' },
  { 'distribute-cpus-across-numa': 'true' },
])
  test(`exclusive CPUs are never shared while pods come and go: ${JSON.stringify(options)}`, async (t) => {
    let seed = 42;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const pause = async () => {
      for (let left = random(4); left > 0; left--) await tick();
    };
    const root = await mkdtemp(join(tmpdir(), 'berth-never-'));
    t.teardown(() => rm(root, { recursive: true, maxRetries: 5 }));
    const docker = createFakeDocker();
    docker.addImage('app:1');

    /** uid → how many CPUs of its own its container must have; from the pod alone. */
    const owns = new Map<string, number>();
    let looks = 0;
    const look = () => {
      looks++;
      const running = [...docker.containers.values()].filter(({ detail }) => detail.state === 'running');
      const cpusets = running.map(({ config }) => ({
        uid: config.Labels![LABEL.podUid]!,
        bits: bitsOf(config.HostConfig!.CpusetCpus!),
      }));
      for (const { uid, bits } of cpusets) {
        const count = owns.get(uid);
        if (!count) continue;
        if (bits.toString(2).replaceAll('0', '').length !== count)
          t.fail(`${uid} has ${bits.toString(2)}, not ${count} CPUs`);
        if (bits & bitsOf(RESERVED)) t.fail(`${uid} has a reserved CPU`);
        for (const other of cpusets)
          if (other.uid !== uid && other.bits & bits) t.fail(`${other.uid} runs on CPUs of ${uid}`);
      }
    };
    const watched = {
      ...docker,
      async startContainer(id: string) {
        await pause();
        await docker.startContainer(id);
        look();
      },
      async updateContainer(id: string, config: object) {
        await pause();
        await docker.updateContainer(id, config);
        look();
      },
    };

    async function startAgent() {
      let keeper: CpusetKeeper | undefined;
      const cpu = await createCpuManager(
        {
          topology: buildCpuTopology(machineOf({ sockets: 2, coresPerNuma: 4, threads: 2 })),
          reserved: parseCpuList(RESERVED),
          policy: parseCpuPolicyOptions(options as Record<string, string>),
          statePath: join(root, 'cpu_manager_state'),
        },
        {
          metrics: createManagerMetrics(new Registry()),
          nowMs: Date.now,
          onChange: async () => keeper?.sync(),
          onUnsaved: (error) => t.fail(String(error)),
        },
      );
      keeper = createCpusetKeeper(
        { nodeName: 'n', periodMs: 1 },
        {
          docker: watched,
          wanted: (uid, name) => formatCpuList(cpu.cpus(uid, name)),
          clock: createFakeClock(),
          log: silentLogger,
        },
      );
      const admission = createTopologyManager(
        { policy: 'best-effort', scope: 'container', machine: { nodes: [0, 1] } },
        {
          providers: [cpu],
          metrics: createManagerMetrics(new Registry()),
          clock: createFakeClock(),
          log: silentLogger,
        },
      );
      return { cpu, keeper, admission };
    }

    let agent = await startAgent();
    let admitOne = createSerial();
    const pods = new Map<string, { pod: Pod; containerId?: string }>();
    let admitted = 0;
    let refused = 0;

    async function come(number: number): Promise<void> {
      const uid = `uid-${number}`;
      const kind = random(3);
      const cpu = kind === 0 ? `${1 + random(7)}` : kind === 1 ? '1500m' : '';
      const pod = podOf(
        { containers: [{ name: 'c', ...(cpu && { resources: resources(`${cpu}/${cpu}`, '64Mi/64Mi') }) }] },
        { uid },
      );
      const refusal = await admitOne(() => agent.admission.admit(pod, [], new AbortController().signal));
      if (refusal) {
        refused++;
        return;
      }
      admitted++;
      if (kind === 0) owns.set(uid, Number(cpu));
      const entry: { pod: Pod; containerId?: string } = { pod };
      pods.set(uid, entry);
      await pause();
      const labels = {
        [LABEL.podUid]: uid,
        [LABEL.containerName]: 'c',
        [LABEL.dockerType]: 'container',
        [LABEL.node]: 'n',
      };
      const config = {
        Image: 'app:1',
        Labels: labels,
        HostConfig: { CpusetCpus: formatCpuList(agent.cpu.cpus(uid, 'c')) },
      };
      // The Engine takes long: meanwhile others are admitted, and even started.
      await delay(random(10));
      const { id } = await agent.keeper.docker.createContainer(uid, config);
      await pause();
      await agent.keeper.docker.startContainer(id);
      entry.containerId = id;
    }

    async function go(uid: string): Promise<void> {
      const id = pods.get(uid)?.containerId;
      if (id === undefined) return;
      pods.delete(uid);
      docker.exit(id, 0);
      look();
      owns.delete(uid);
      agent.admission.release!(uid);
      await pause();
      await agent.keeper.docker.removeContainer(id);
    }

    for (let round = 0; round < 60; round++) {
      const steps: Promise<void>[] = [];
      for (let left = 1 + random(4); left > 0; left--) steps.push(come(round * 10 + left));
      for (const uid of pods.keys()) if (random(3) === 0) steps.push(go(uid));
      await Promise.all(steps);
      look();
      if (random(8) > 0) continue;
      // Killed and started again: what runs is taken over, pods that went meanwhile give back.
      const gone = [...pods.keys()].find(() => random(2) === 0);
      if (gone) {
        docker.exit(pods.get(gone)!.containerId!, 0);
        owns.delete(gone);
        pods.delete(gone);
      }
      await agent.keeper.sync();
      // A killed agent's writes do not go on beside its successor's.
      await settle();
      agent = await startAgent();
      admitOne = createSerial();
      for (const { pod } of pods.values()) await agent.admission.readmit!(pod);
      agent.admission.retain!(new Set(pods.keys()));
      await agent.keeper.sync();
      look();
    }
    t.log(`${admitted} pods admitted, ${refused} refused, looked ${looks} times`);
    t.true(admitted > 40 && refused > 1 && looks > 150);

    // In the end everybody goes, and all CPUs are shared again.
    await Promise.all([...pods.keys()].map(go));
    await settle();
    const everything = 'strict-cpu-reservation' in options ? '1-7,9-15' : `0-${CPUS - 1}`;
    t.is(formatCpuList(agent.cpu.cpus('nobody', 'c')), everything);
  });
