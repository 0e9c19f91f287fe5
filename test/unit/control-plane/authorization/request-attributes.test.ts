import test from 'ava';
import { authorizationAttributes, deniedStatus } from '../../../../control-plane/apiserver/handler.ts';
import { nodeUser } from '../../../support/strategy-context.ts';

const list = (fieldSelector: string) =>
  authorizationAttributes(
    { query: new URLSearchParams({ fieldSelector }) },
    {
      isResource: true,
      verb: 'list',
      path: '/api/v1/namespaces/team/secrets',
      group: '',
      version: 'v1',
      resource: 'secrets',
      subresource: '',
      namespace: 'team',
      name: '',
      rest: [],
    },
    nodeUser('n1'),
  );

const names: [string, string][] = [
  ['metadata.name=password', 'password'],
  ['type=Opaque,metadata.name==password', 'password'],
  ['metadata.name!=password', ''],
  ['', ''],
  // One term: a value with a comma in it. It selects nearly everything and must not be judged as one name.
  ['type!=x\\,metadata.name=password', ''],
  ['type=x\\,metadata.name\\=password', ''],
];
for (const [fieldSelector, name] of names)
  test(`a list by ${fieldSelector || 'nothing'} is judged as the name ${name || '(none)'}`, (t) => {
    t.is(list(fieldSelector).name, name);
  });

test('a refusal says why', (t) => {
  t.is(
    deniedStatus(list('metadata.name=password'), "no relationship found between node 'n1' and this object").message,
    'secrets "password" is forbidden: User "system:node:n1" cannot list resource "secrets" in API group "" in the namespace "team": no relationship found between node \'n1\' and this object',
  );
});
