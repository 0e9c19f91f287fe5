import test from 'ava';
import { createImageAccountsReader } from '../../../../agent/containers/accounts.ts';
import { DockerError } from '../../../../src/docker/errors.ts';
import type { PodSecurityContext } from '../../../../src/kube/types.ts';
import { createFakeDocker } from '../../../fakes/docker.ts';
import { podOf } from '../pod.ts';

const PASSWD = 'root:x:0:0::/:\nweb:x:1000:100::/:\n# a comment\nbroken:x::\n';
const GROUP = 'root:x:0:\nusers:x:100:\nmedia:x:2000:web,other\naudio:x:2001:other\nwheel:x:10:root,web\n';

async function completed(context: PodSecurityContext, user: string | undefined, imageUser = '') {
  const docker = createFakeDocker();
  docker.addImage('i:1', { user: imageUser }, { '/etc/passwd': PASSWD, '/etc/group': GROUP });
  const pod = podOf({ securityContext: context });
  const image = await docker.inspectImage('i:1');
  const reader = createImageAccountsReader('n1', docker);
  const config = {
    Image: 'i:1',
    ...(user !== undefined && { User: user }),
    HostConfig: { ...(context.supplementalGroups && { GroupAdd: context.supplementalGroups.map(String) }) },
  };
  docker.calls.length = 0;
  const make = () => reader.complete(config, pod, pod.spec.containers[0]!, image);
  const result = await make();
  return { user: result.User, groups: result.HostConfig?.GroupAdd ?? [], docker, make };
}

for (const [title, context, user, imageUser, expected] of [
  ['Merge: the Engine adds memberships itself', {}, '1000', '', '1000 +'],
  ['Merge with runAsGroup: memberships are spelled out', { runAsGroup: 5 }, '1000:5', '', '1000:5 + 2000 10'],
  [
    'Merge with runAsGroup and groups of the pod',
    { runAsGroup: 5, supplementalGroups: [7, 2000] },
    '1000:5',
    '',
    '1000:5 + 7 2000 10',
  ],
  ['Merge with runAsGroup, user by name', { runAsGroup: 5 }, 'web:5', '', 'web:5 + 2000 10'],
  ['Merge with runAsGroup, a user nobody knows', { runAsGroup: 5 }, '4711:5', '', '4711:5 +'],
  ['Strict: the main group of the image, no others', { supplementalGroupsPolicy: 'Strict' }, '1000', '', '1000:100 +'],
  [
    'Strict: only the pod’s groups',
    { supplementalGroupsPolicy: 'Strict', supplementalGroups: [7] },
    '1000',
    '',
    '1000:100 + 7',
  ],
  ['Strict: a user nobody knows has group 0', { supplementalGroupsPolicy: 'Strict' }, '4711', '', '4711:0 +'],
  ['Strict: the image’s user', { supplementalGroupsPolicy: 'Strict' }, undefined, 'web', 'web:100 +'],
  ['Strict: root', { supplementalGroupsPolicy: 'Strict' }, undefined, '', '0:0 +'],
  ['Strict with runAsGroup', { supplementalGroupsPolicy: 'Strict', runAsGroup: 5 }, '1000:5', '', '1000:5 +'],
] as [string, PodSecurityContext, string | undefined, string, string][])
  test(title, async (t) => {
    const made = await completed(context, user, imageUser);
    t.is(`${made.user} + ${made.groups.join(' ')}`.trim(), expected);
  });

test('each image is read once, and what was made to read it is gone', async (t) => {
  const { docker, make } = await completed({ runAsGroup: 5 }, '1000:5');
  await make();
  t.is(docker.calls.filter((call) => call.startsWith('create')).length, 1);
  t.is(docker.containers.size, 0);
});

test('a leftover of a crash gives way; a failure is not remembered', async (t) => {
  const { docker } = await completed({}, '1000');
  const image = await docker.inspectImage('i:1');
  await docker.createContainer(`berth_accounts_${image.id.slice(7, 19)}`, { Image: 'i:1' });
  const pod = podOf({ securityContext: { runAsGroup: 5 } });
  const reader = createImageAccountsReader('n1', docker);
  const make = () => reader.complete({ Image: 'i:1', User: '1000:5' }, pod, pod.spec.containers[0]!, image);
  docker.failNext('read', new DockerError('read', 'server', 'no'));
  await t.throwsAsync(make());
  t.deepEqual((await make()).HostConfig?.GroupAdd, ['2000', '10']);
  t.is(docker.containers.size, 0);
});
