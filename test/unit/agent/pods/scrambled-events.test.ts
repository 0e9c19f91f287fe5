/** R21: whatever the Engine's events do, each run of a container is created once, and never two of one container live at a time. */
import test from 'ava';
import type { ContainerEvent } from '../../../../src/docker/engine.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

const CONTAINERS = ['one', 'two'];
const EXITS = 12;

const pod = (uid: string): Pod =>
  podOf(
    { dnsPolicy: 'Default', containers: CONTAINERS.map((name) => ({ name, image: 'busybox:1' })) },
    { uid, name: `web-${uid}` },
  );

/** The same dice for the same seed. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

for (const seed of [1, 2, 3, 4, 5])
  test(`R21: events that come twice, late, in any order, or not at all (dice ${seed})`, async (t) => {
    const random = dice(seed);
    const agent = await createFakeAgent(t);
    const deliver = agent.runtime.onEvent;
    const late: ContainerEvent[] = [];
    agent.runtime.onEvent = (event) => {
      if (random() < 0.2) return;
      late.push(event);
      if (random() < 0.4) late.push(event);
    };
    const delivery = setInterval(() => {
      for (let count = 0; count < 3 && late.length > 0; count++) {
        const at = Math.floor(random() * late.length);
        const [event] = random() < 0.3 ? [late[at]!] : late.splice(at, 1);
        deliver(event!);
      }
    }, 3);
    const relists = setInterval(() => agent.runtime.relist(new AbortController().signal), 50);
    t.teardown(() => {
      clearInterval(delivery);
      clearInterval(relists);
    });

    const created: string[] = [];
    const create = agent.docker.createContainer;
    agent.docker.createContainer = async (name, config, signal) => {
      const [, container, , , uid] = name.split('_');
      const alive = [...agent.docker.containers.values()].filter(({ detail }) => {
        const [, other, , , ofPod] = detail.name.split('_');
        return other === container && ofPod === uid && ['created', 'running'].includes(detail.state);
      });
      t.deepEqual(
        alive.map(({ detail }) => `${detail.name} ${detail.state}`),
        [],
        `${name} is made while another one lives`,
      );
      created.push(name);
      return create(name, config, signal);
    };

    const pods = ['a', 'b', 'c'].map(pod);
    for (const one of pods) agent.workers.update(one);
    const running = () =>
      agent.runningNames().filter((name) => CONTAINERS.includes(name.split('_')[1]!)).length ===
      pods.length * CONTAINERS.length;
    await until('all run', running);
    let exits = 0;
    while (exits < EXITS) {
      const victims = agent.runningNames().filter((name) => CONTAINERS.includes(name.split('_')[1]!));
      const victim = victims[Math.floor(random() * victims.length)];
      const id = [...agent.docker.containers.values()].find(({ detail }) => detail.name === victim)?.detail.id;
      if (id) {
        agent.docker.exit(id, 1);
        exits++;
      }
      await new Promise((resolve) => setTimeout(resolve, random() * 40));
    }
    await until('all run again', () => running() && pods.every((one) => agent.phase(one) === 'Running'));
    t.deepEqual(created.toSorted(), [...new Set(created)].toSorted(), 'no run was made twice');
    t.deepEqual(
      created.filter((name) => name.split('_').length > 6),
      [],
      'no name was evaded',
    );
    t.is(created.length, pods.length * (1 + CONTAINERS.length) + EXITS, 'one for each end, no more');
  });
