import test from 'ava';
import { rejectionLabel } from '../../../../agent/stats/rejection-reasons.ts';
import { AttachLimitError, findAttachLimit } from '../../../../agent/volumes/csi/attach-limit.ts';
import { attachedContext } from '../../../../agent/volumes/csi/attachment.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { pod } from './story-pods.ts';

const attachment = (errorCode?: number) => ({
  async attachment() {
    return {
      metadata: { name: 'a' },
      spec: { attacher: 'd', nodeName: 'n', source: {} },
      status: { attached: false, attachError: { message: 'limit of 2 reached', ...(errorCode && { errorCode }) } },
    } as never;
  },
});

test('an attacher that has no room for another volume is known by its code', async (t) => {
  const look = (errorCode?: number) =>
    t.throwsAsync(attachedContext('a', { api: attachment(errorCode), clock: systemClock }));
  t.true((await look(8)) instanceof AttachLimitError);
  t.false((await look(13)) instanceof AttachLimitError);
  t.is((await look())!.message, 'limit of 2 reached');
});

test('it is found among several failures', (t) => {
  const limit = new AttachLimitError('full');
  const wrapped = new Error('MountVolume.SetUp failed', { cause: limit });
  t.is(findAttachLimit(new AggregateError([new Error('other'), wrapped], 'two')), limit);
  t.is(findAttachLimit(new Error('other')), undefined);
});

test('a pod whose volume cannot be attached to this node is rejected with upstream’s reason', async (t) => {
  const rejected: string[] = [];
  const agent = await createFakeAgent(t, {
    onRejected: (reason) => rejected.push(reason),
    volumePlugins: [
      {
        kind: 'csi',
        directories: [],
        setUp: () => Promise.reject(new AttachLimitError('limit of 2 reached')),
        tearDown: async () => {},
      } as never,
    ],
  });
  const volumes = [{ name: 'v', csi: { driver: 'd' } }];
  const one = pod({ volumes, containers: [{ name: 'app', volumeMounts: [{ name: 'v', mountPath: '/v' }] }] });
  agent.workers.update(one);
  await until('finished', () => agent.finished.includes('uid-1'));
  t.like(agent.statuses.get('uid-1')!, {
    phase: 'Failed',
    reason: 'VolumeAttachmentLimitExceeded',
    message: 'Pod was rejected: limit of 2 reached',
  });
  t.deepEqual(rejected, ['VolumeAttachmentLimitExceeded']);
});

test('reasons that are counted by themselves, and those that are not', (t) => {
  t.is(rejectionLabel('OutOfcpu'), 'OutOfcpu');
  t.is(rejectionLabel('OutOfexample.com/device'), 'OutOfExtendedResources');
  t.is(rejectionLabel('SomethingNew'), 'Other');
});
