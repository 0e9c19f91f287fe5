import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import {
  CheckpointError,
  CorruptCheckpointError,
  createCheckpointWriter,
  loadCheckpoint,
} from '../../../../../agent/resources/checkpoints/checkpoint-file.ts';
import { checkNoState } from '../../../../../agent/resources/checkpoints/checkpoint-policy.ts';
import {
  type CpuState,
  checkCpuState,
  parseCpuState,
  renderCpuState,
} from '../../../../../agent/resources/cpu-manager/cpu-state.ts';
import { formatCpuList, parseCpuList } from '../../../../../src/linux/cpu-list.ts';

const stateOf = (shared: string, entries: Record<string, Record<string, string>> = {}): CpuState => ({
  defaultCpus: parseCpuList(shared),
  entries: new Map(
    Object.entries(entries).map(([uid, of]) => [
      uid,
      new Map(Object.entries(of).map(([name, cpus]) => [name, parseCpuList(cpus)])),
    ]),
  ),
});

async function directory(t: { teardown(after: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'berth-checkpoint-'));
  t.teardown(() => rm(path, { recursive: true }));
  return path;
}

test('the state goes to the file and back, in the shape of the kubelet', (t) => {
  const state = stateOf('0,4-7', { 'uid-2': { b: '3' }, 'uid-1': { app: '1-2' } });
  const text = renderCpuState(state);
  const { checksum, ...rest } = JSON.parse(text);
  t.deepEqual(rest, {
    policyName: 'static',
    defaultCpuSet: '0,4-7',
    entries: { 'uid-1': { app: '1-2' }, 'uid-2': { b: '3' } },
  });
  t.true(Number.isInteger(checksum));
  const back = parseCpuState(text, '/x');
  t.is(formatCpuList(back.defaultCpus), '0,4-7');
  t.is(formatCpuList(back.entries.get('uid-1')!.get('app')!), '1-2');
  t.is(renderCpuState(back), renderCpuState(state));
});

// Files that kubelets have written: what is checked here is the checksum, whose policy they were is said after it.
for (const file of [
  '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}',
  '{"policyName":"none","defaultCPUSet":"4-6","entries":{},"checksum":354655845}',
  '{"policyName":"none","defaultCPUSet":"1-3","entries":{"pod":{"container1":"4-6","container2":"1-3"}},"checksum":3610638499}',
])
  test(`a checksum of the kubelet's own: ${file}`, (t) => {
    t.throws(() => parseCpuState(file, '/x/cpu_manager_state'), {
      instanceOf: CheckpointError,
      message:
        'configured policy "static" differs from state checkpoint policy "none": please drain this node and delete the checkpoint file /x/cpu_manager_state before starting the agent again',
    });
    t.throws(() => parseCpuState(file.replace(/\d+}$/, '1}'), '/x'), { instanceOf: CorruptCheckpointError });
  });

test('a checksum of 0 is a file written by hand', (t) => {
  const state = parseCpuState('{"policyName":"static","defaultCpuSet":"0-1","checksum":0}', '/x');
  t.is(formatCpuList(state.defaultCpus), '0-1');
});

for (const [title, text, says] of [
  ['cut off', '{"policyName":"static"', /not JSON/],
  ['something else', '[]', /not a JSON object/],
  ['no checksum', '{"policyName":"static","defaultCpuSet":"0-1"}', /checksum is undefined/],
  ['no CPUs', '{"policyName":"static","checksum":0}', /defaultCPUSet is undefined/],
  ['CPUs that are none', '{"policyName":"static","defaultCpuSet":"0-x","checksum":0}', /the default CPU set: "0-x"/],
  [
    'entries of the first format',
    '{"policyName":"static","defaultCpuSet":"0","entries":{"c":"1"},"checksum":0}',
    /not CPUs/,
  ],
  [
    'a container with CPUs that are none',
    '{"policyName":"static","defaultCpuSet":"0","entries":{"p":{"c":"one"}},"checksum":0}',
    /container c of pod p: "one"/,
  ],
] as const)
  test(`a corrupt file: ${title}`, (t) => {
    t.throws(() => parseCpuState(text, '/x'), { instanceOf: CorruptCheckpointError, message: says });
  });

test('policy none passes over its own file only', (t) => {
  t.notThrows(() => checkNoState('{"policyName":"none","defaultCpuSet":"","checksum":1353318690}', '/x', 'none'));
  t.throws(() => checkNoState('{"policyName":"static","defaultCpuSet":"0","checksum":1}', '/x', 'none'), {
    message: /configured policy "none" differs from state checkpoint policy "static".*delete the checkpoint file \/x/,
  });
});

const node = { reach: parseCpuList('0-3'), reserved: parseCpuList('0'), strict: false };
for (const [title, state, at, says] of [
  ['a reserved CPU was given away', stateOf('1-3', { p: { c: '0' } }), node, /not all reserved CPUs "0"/],
  ['a CPU belongs to two', stateOf('0-3', { p: { c: '3' } }), node, /"3" of container c of pod p overlap/],
  ['a CPU is missing', stateOf('0-1', { p: { c: '3' } }), node, /the node has the CPUs "0-3", the file knows "0-1,3"/],
  ['a CPU went offline', stateOf('0-4'), node, /the node has the CPUs "0-3", the file knows "0-4"/],
  ['nothing shared', stateOf('', { p: { c: '0-3' } }), node, /default CPU set is empty/],
  [
    'strictly reserved CPUs are shared',
    stateOf('0-3'),
    { ...node, reach: parseCpuList('1-3'), strict: true },
    /some of the strictly reserved CPUs "0" are in its default CPU set/,
  ],
] as const)
  test(`a state that does not fit the node: ${title}`, (t) => {
    const error = t.throws(() => checkCpuState(state, at, '/x/cpu_manager_state'), { instanceOf: CheckpointError });
    t.regex(error!.message, says);
    t.regex(error!.message, /^\/x\/cpu_manager_state does not fit this node.*drain the node and delete that file/);
  });

test('states that fit', (t) => {
  t.notThrows(() => checkCpuState(stateOf('0-1', { p: { c: '2-3' } }), node, '/x'));
  const strict = { ...node, reach: parseCpuList('1-3'), strict: true };
  t.notThrows(() => checkCpuState(stateOf('1-2', { p: { c: '3' } }), strict, '/x'));
  t.notThrows(() => checkCpuState(stateOf('', { p: { c: '1-3' } }), strict, '/x'));
});

test('a corrupt checkpoint is kept aside and said; the next start begins without it', async (t) => {
  const root = await directory(t);
  const path = join(root, 'cpu_manager_state');
  await writeFile(path, '{"policyName":"static","defaultCpuSet":"0-1","checksum":12}');
  const load = () =>
    loadCheckpoint(
      path,
      (text) => parseCpuState(text, path),
      () => Date.UTC(2026, 0, 2),
    );
  const error = await t.throwsAsync(load(), { instanceOf: CheckpointError });
  const [aside] = await readdir(root);
  t.regex(aside!, /^cpu_manager_state\.corrupt-20260102T/);
  t.true(error!.message.includes(join(root, aside!)));
  t.true(error!.message.includes(`the checkpoint ${path} is corrupt: its checksum is 12`));
  t.is(await readFile(join(root, aside!), 'utf8'), '{"policyName":"static","defaultCpuSet":"0-1","checksum":12}');
  t.is(await load(), undefined);
});

test("another policy's checkpoint stays where it is", async (t) => {
  const root = await directory(t);
  const path = join(root, 'cpu_manager_state');
  await writeFile(path, '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}');
  await t.throwsAsync(
    loadCheckpoint(path, (text) => parseCpuState(text, path), Date.now),
    { message: /differs/ },
  );
  t.deepEqual(await readdir(root), ['cpu_manager_state']);
});

test('writes are whole, private, and the newest wins', async (t) => {
  const root = await directory(t);
  const path = join(root, 'state', 'file');
  let text = 'one';
  const writer = createCheckpointWriter(path, () => text);
  const first = writer.save();
  text = 'two';
  await Promise.all([first, writer.save(), writer.save()]);
  t.is(await readFile(path, 'utf8'), 'two');
  t.is((await stat(path)).mode & 0o777, 0o600);
  t.deepEqual(await readdir(join(root, 'state')), ['file']);
});

test('a write that fails is said, and the next one is tried', async (t) => {
  const root = await directory(t);
  await writeFile(join(root, 'state'), 'not a directory');
  const writer = createCheckpointWriter(join(root, 'state', 'file'), () => 'text');
  await t.throwsAsync(writer.save(), { message: /cannot write the checkpoint .*state\/file: / });
  await rm(join(root, 'state'));
  await writer.save();
  t.is(await readFile(join(root, 'state', 'file'), 'utf8'), 'text');
});
