import test from 'ava';
import {
  defaultPullPolicy,
  imageNameProblem,
  isSameReference,
  parseImageName,
  repositoryOf,
  withDefaultTag,
} from '../../../../agent/images/name.ts';

const DIGEST = `sha256:${'0'.repeat(64)}`;

for (const [text, expected] of [
  ['nginx', 'docker.io library/nginx - -'],
  ['nginx:1.27', 'docker.io library/nginx 1.27 -'],
  ['library/nginx', 'docker.io library/nginx - -'],
  ['index.docker.io/nginx', 'docker.io library/nginx - -'],
  ['team/app', 'docker.io team/app - -'],
  ['registry.example/a/b:1', 'registry.example a/b 1 -'],
  ['localhost:5000/a', 'localhost:5000 a - -'],
  ['localhost/a:x', 'localhost a x -'],
  ['[::1]:5000/a', '[::1]:5000 a - -'],
  [`a@${DIGEST}`, `docker.io library/a - ${DIGEST}`],
  [`h.example/a:1@${DIGEST}`, `h.example a 1 ${DIGEST}`],
] as const)
  test(`image name ${text}`, (t) => {
    const name = parseImageName(text)!;
    t.is(`${name.registry} ${name.repository} ${name.tag ?? '-'} ${name.digest ?? '-'}`, expected);
  });

for (const [text, problem] of [
  ['', 'invalid reference format'],
  ['Nginx', 'invalid reference format: repository name (library/Nginx) must be lowercase'],
  ['a b', 'invalid reference format'],
  ['a:', 'invalid reference format'],
  ['-a', 'invalid reference format'],
  ['a/', 'invalid reference format'],
  ['a:b:c', 'invalid reference format'],
  ['a@sha256:xyz', 'invalid reference format'],
  ['-h.example/a', 'invalid reference format'],
  [`a@sha256:${'0'.repeat(40)}`, 'invalid checksum digest length'],
  [`a@md5:${'0'.repeat(32)}`, 'unsupported digest algorithm'],
  ['0'.repeat(64), `invalid repository name (${'0'.repeat(64)}), cannot specify 64-byte hexadecimal strings`],
  [`h.example/${'a'.repeat(250)}`, 'repository name must not be more than 255 characters'],
] as const)
  test(`no image name: ${JSON.stringify(text.slice(0, 40))}`, (t) => {
    t.is(imageNameProblem(text), problem);
    t.is(parseImageName(text), undefined);
  });

for (const [image, tagged, policy] of [
  ['nginx', 'nginx:latest', 'Always'],
  ['nginx:latest', 'nginx:latest', 'Always'],
  ['nginx:1', 'nginx:1', 'IfNotPresent'],
  ['localhost:5000/a', 'localhost:5000/a:latest', 'Always'],
  [`a@${DIGEST}`, `a@${DIGEST}`, 'IfNotPresent'],
  [`a:latest@${DIGEST}`, `a:latest@${DIGEST}`, 'Always'],
  [`a:1@${DIGEST}`, `a:1@${DIGEST}`, 'IfNotPresent'],
] as const)
  test(`default tag and pull policy of ${image}`, (t) => {
    t.is(withDefaultTag(image), tagged);
    t.is(defaultPullPolicy(image), policy);
  });

test('references are compared as Docker means them', (t) => {
  t.true(isSameReference('nginx', 'docker.io/library/nginx:latest'));
  t.true(isSameReference(`nginx:1@${DIGEST}`, `nginx@${DIGEST}`));
  t.false(isSameReference('nginx:1', 'nginx:2'));
  t.false(isSameReference('nginx', 'registry.example/nginx'));
  t.is(repositoryOf(`nginx:1@${DIGEST}`), 'docker.io/library/nginx');
});
