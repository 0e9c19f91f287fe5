import test from 'ava';
import { LABEL } from '../../../../agent/containers/identity.ts';
import { createContainerReader } from '../../../../agent/pods/container-reader.ts';
import { createOomLedger } from '../../../../agent/pods/oom-ledger.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { createFakeDocker } from '../../../fakes/docker.ts';

/** A container that was killed at once; the Engine hears of the out-of-memory killer only at its n-th inspection. */
async function readKilled(
  tellsAt: number,
  { memoryBytes = 1 << 20, exitCode = 137, agoMs = 0, kills = undefined as number | undefined } = {},
) {
  const clock = createFakeClock();
  const docker = createFakeDocker({ nowMs: clock.nowMs });
  docker.addImage('i:1');
  const { id } = await docker.createContainer('k8s_app_p_default_uid-1_0', {
    Image: 'i:1',
    Labels: {
      [LABEL.podName]: 'p',
      [LABEL.podNamespace]: 'default',
      [LABEL.podUid]: 'uid-1',
      [LABEL.containerName]: 'app',
    },
    HostConfig: { Memory: memoryBytes },
  });
  await docker.startContainer(id);
  docker.exit(id, exitCode);
  await clock.advance(agoMs);
  const inspect = docker.inspectContainer.bind(docker);
  let looks = 0;
  docker.inspectContainer = async (one, signal) => {
    looks++;
    return { ...(await inspect(one, signal)), oomKilled: looks >= tellsAt };
  };
  const reading = createContainerReader({
    docker,
    network: { ips: () => [] },
    clock: { ...clock, nowMs: () => clock.nowMs() - 1 },
    resources: { groupKills: async () => kills },
  }).read(id);
  await clock.advance(1_000);
  const observed = await reading;
  return { looks, reason: observed?.kind === 'container' ? observed.status.reason : undefined };
}

test('a limited container that was killed is looked at again, for the Engine may not have heard why yet', async (t) => {
  t.deepEqual(await readKilled(1), { looks: 1, reason: 'OOMKilled' });
  t.deepEqual(await readKilled(3), { looks: 3, reason: 'OOMKilled' });
  t.deepEqual(await readKilled(99), { looks: 4, reason: 'Error' });
});

test('not one without a limit, that ended by itself, or long ago', async (t) => {
  t.is((await readKilled(99, { memoryBytes: 0 })).looks, 1);
  t.is((await readKilled(99, { exitCode: 1 })).looks, 1);
  t.is((await readKilled(99, { agoMs: 5_000 })).looks, 1);
});

test('where the kernel counts, its count decides at once', async (t) => {
  t.deepEqual(await readKilled(99, { kills: 1 }), { looks: 1, reason: 'OOMKilled' });
  t.deepEqual(await readKilled(99, { kills: 1, memoryBytes: 0 }), { looks: 1, reason: 'OOMKilled' });
  t.deepEqual(await readKilled(99, { kills: 0 }), { looks: 1, reason: 'Error' });
  t.deepEqual(await readKilled(1, { kills: 0 }), { looks: 1, reason: 'OOMKilled' });
  t.deepEqual(await readKilled(99, { kills: 1, exitCode: 1 }), { looks: 1, reason: 'Error' });
});

test('one count explains one end; those of an earlier life of the agent explain none', async (t) => {
  let kills = 1;
  const ledger = createOomLedger(async () => kills, 1000);
  await ledger.meet('new', 1000);
  t.true(await ledger.isCause('new', 'a', false));
  t.true(await ledger.isCause('new', 'a', false));
  t.false(await ledger.isCause('new', 'b', false));
  kills = 2;
  t.true(await ledger.isCause('new', 'b', false));
  t.true(await ledger.isCause('new', 'c', true));
  ledger.forget('new');
  t.is(await ledger.isCause('new', 'a', false), undefined);

  await ledger.meet('old', 999);
  t.false(await ledger.isCause('old', 'a', false));
  kills = 3;
  t.true(await ledger.isCause('old', 'a', false));
});
