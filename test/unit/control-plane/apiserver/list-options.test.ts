import test from 'ava';
import {
  decodeContinue,
  encodeContinue,
  listVersion,
  parseLimit,
  watchVersion,
} from '../../../../control-plane/apiserver/rest/list-options.ts';

const refused = (read: () => unknown) => {
  try {
    return read();
  } catch (error) {
    return (error as Error).message.replace(/^ListOptions\.meta\.k8s\.io "" is invalid: /, '');
  }
};
const list = (query: string) => refused(() => listVersion(new URLSearchParams(query)));
const watch = (query: string) => refused(() => watchVersion(new URLSearchParams(query)));

test('list versions', (t) => {
  t.deepEqual(list(''), { resourceVersion: undefined, match: undefined });
  t.deepEqual(list('resourceVersion=0'), { resourceVersion: 0, match: undefined });
  t.deepEqual(list('resourceVersion=7&resourceVersionMatch=Exact'), { resourceVersion: 7, match: 'Exact' });
  t.is(
    list('resourceVersionMatch=Exact'),
    'resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided',
  );
  t.is(
    list('resourceVersion=0&resourceVersionMatch=Exact'),
    'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
  );
  t.regex(String(list('continue=x&resourceVersion=1&resourceVersionMatch=Exact')), /forbidden when continue/);
  t.regex(String(list('resourceVersion=1&resourceVersionMatch=Maybe')), /Unsupported value: "Maybe"/);
  t.regex(String(list('resourceVersion=-1')), /must be a decimal integer/);
  t.regex(String(list('sendInitialEvents=true')), /forbidden for list/);
});

test('watch versions', (t) => {
  t.like(watch('resourceVersion=3'), { resourceVersion: 3, initialEvents: undefined });
  t.like(watch('sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true'), {
    initialEvents: true,
  });
  t.like(watch('sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=3'), {
    initialEvents: false,
  });
  t.regex(String(watch('resourceVersion=3&resourceVersionMatch=NotOlderThan')), /forbidden for watch unless/);
  t.regex(String(watch('sendInitialEvents=true&allowWatchBookmarks=true')), /requires setting resourceVersionMatch/);
  t.regex(
    String(watch('sendInitialEvents=true&resourceVersionMatch=Exact&allowWatchBookmarks=true')),
    /Unsupported value: "Exact"/,
  );
});

test('limits and continue tokens', (t) => {
  t.is(parseLimit(new URLSearchParams('limit=0')), undefined);
  t.is(parseLimit(new URLSearchParams('limit=5')), 5);
  t.throws(() => parseLimit(new URLSearchParams('limit=-1')));
  const token = { revision: 12, after: { namespace: 'a', name: 'b' } };
  t.deepEqual(decodeContinue(encodeContinue(token)), token);
  const cluster = { revision: -1, after: { namespace: '', name: 'n' } };
  t.deepEqual(decodeContinue(encodeContinue(cluster)), cluster);
  for (const bad of ['', 'x', Buffer.from('{"v":"meta.k8s.io/v1","rv":1,"start":"../x"}').toString('base64url')])
    t.throws(() => decodeContinue(bad), { message: /continue key is not valid/ });
});
