import test from 'ava';
import { createStaticTokenAuthenticator, parseTokenFile } from '../../../src/auth/static-tokens.ts';

test('a token file gives users and groups', (t) => {
  const tokens = parseTokenFile('# comment\nabc,jane,7,"dev,system:masters"\n\ndef,bob,\nghi,eve,1,dev\n');
  t.deepEqual(tokens, [
    { token: 'abc', user: { username: 'jane', uid: '7', groups: ['dev', 'system:masters'] } },
    { token: 'def', user: { username: 'bob', groups: [] } },
    { token: 'ghi', user: { username: 'eve', uid: '1', groups: ['dev'] } },
  ]);
});

test('a bad line is named without showing a token', (t) => {
  const error = t.throws(() => parseTokenFile('good,jane,1\nsecret-token\n'));
  t.regex(error.message, /line 2/);
  t.false(error.message.includes('secret-token'));
});

test('only known tokens authenticate', async (t) => {
  const authenticator = createStaticTokenAuthenticator([{ token: 'abc', user: { username: 'jane', groups: [] } }]);
  t.is((await authenticator.authenticate('abc'))?.username, 'jane');
  t.is(await authenticator.authenticate('abcd'), undefined);
  t.is(await authenticator.authenticate(''), undefined);
});
