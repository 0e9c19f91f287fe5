import test from 'ava';
import { createChain } from '../../../../cni/invoke/chain.ts';
import { parseConfigurationList } from '../../../../cni/invoke/network-configuration.ts';
import type { CniResult } from '../../../../cni/types.ts';
import type { PluginCaller } from '../../../../cni/wire/plugin-caller.ts';

const request = { containerId: 'c', ifname: 'eth0', netns: '/ns', args: {} };
const attachment = { request, capabilityArgs: { portMappings: [1], mac: 'x' } };
const resultOf = (ip: string): CniResult => ({ interfaces: [], ips: [{ address: ip }], routes: [] });
const network = (extra: object = {}) =>
  parseConfigurationList(
    JSON.stringify({
      cniVersion: '1.1.0',
      name: 'net',
      plugins: [
        { type: 'first', key: 1 },
        { type: 'second', capabilities: { portMappings: true, ips: true } },
      ],
      ...extra,
    }),
  );

/** Keeps the books; a type in `fails` throws. */
function recorder(...fails: string[]) {
  const calls: string[] = [];
  const previous: (CniResult | undefined)[] = [];
  const confs: Record<string, unknown>[] = [];
  const call = async (
    command: string,
    { conf, previous: before }: { conf: Readonly<Record<string, unknown>>; previous?: CniResult },
  ) => {
    calls.push(`${command} ${conf['type']}`);
    confs.push({ ...conf });
    previous.push(before);
    if (fails.includes(String(conf['type']))) throw new Error(`${conf['type']} fails`);
  };
  const caller: PluginCaller = {
    async add(_request, how) {
      await call('ADD', how);
      return resultOf(`10.0.0.${calls.length}/24`);
    },
    del: (_request, how) => call('DEL', how),
    check: (_request, how) => call('CHECK', how),
    gc: (_valid, how) => call('GC', how),
    status: (how) => call('STATUS', how),
    locate: () => undefined,
    parse() {},
    close() {},
  };
  return { chain: createChain(caller), calls, previous, confs };
}

test('ADD: in order, each with the result before it; the name and version of the network, what it declares of the offers', async (t) => {
  const { chain, calls, previous, confs } = recorder();
  t.deepEqual(await chain.add(network(), attachment), resultOf('10.0.0.2/24'));
  t.deepEqual(calls, ['ADD first', 'ADD second']);
  t.deepEqual(previous, [undefined, resultOf('10.0.0.1/24')]);
  t.deepEqual(confs, [
    { type: 'first', key: 1, name: 'net', cniVersion: '1.1.0' },
    { type: 'second', name: 'net', cniVersion: '1.1.0', runtimeConfig: { portMappings: [1] } },
  ]);
});

test('ADD stops where a plugin fails, and between plugins when it is aborted', async (t) => {
  const failing = recorder('first');
  await t.throwsAsync(failing.chain.add(network(), attachment), { message: 'first fails' });
  t.deepEqual(failing.calls, ['ADD first']);
  await t.throwsAsync(recorder().chain.add(network(), attachment, AbortSignal.abort(new Error('enough'))), {
    message: 'enough',
  });
});

test('DEL: in reverse, the final result to each, none before 0.4.0; stops at a failure', async (t) => {
  const { chain, calls, previous } = recorder();
  await chain.del(network(), attachment, resultOf('10.0.0.9/24'));
  await chain.del(network({ cniVersion: '0.3.1' }), attachment, resultOf('10.0.0.9/24'));
  t.deepEqual(calls, ['DEL second', 'DEL first', 'DEL second', 'DEL first']);
  t.deepEqual(
    previous.map((one) => one !== undefined),
    [true, true, false, false],
  );
  const failing = recorder('second');
  await t.throwsAsync(failing.chain.del(network(), attachment));
  t.deepEqual(failing.calls, ['DEL second']);
});

test('CHECK from 0.4.0, GC and STATUS from 1.1.0, unless disabled; GC goes on after a failure', async (t) => {
  const { chain, calls } = recorder();
  const result = resultOf('10.0.0.9/24');
  await chain.check(network({ cniVersion: '0.3.1' }), attachment, result);
  await chain.check(network({ disableCheck: true }), attachment, result);
  await chain.gc(network({ cniVersion: '1.0.0' }), []);
  await chain.gc(network({ disableGC: true }), []);
  await chain.status(network({ cniVersion: '1.0.0' }));
  t.deepEqual(calls, []);
  await chain.check(network({ cniVersion: '0.4.0' }), attachment, result);
  await chain.status(network());
  t.deepEqual(calls, ['CHECK first', 'CHECK second', 'STATUS first', 'STATUS second']);
  const failing = recorder('first', 'second');
  const error = await t.throwsAsync(failing.chain.gc(network(), []), { instanceOf: AggregateError });
  t.is(error?.errors.length, 2);
  t.deepEqual(failing.calls, ['GC first', 'GC second']);
});
