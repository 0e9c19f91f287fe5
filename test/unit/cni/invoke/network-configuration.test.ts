import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { buildBuiltinNetwork } from '../../../../cni/invoke/builtin-network.ts';
import { readConfigurationDirectory } from '../../../../cni/invoke/configuration-directory.ts';
import { isMeantForPods } from '../../../../cni/invoke/network-choice.ts';
import {
  ConfigurationError,
  parseConfigurationList,
  parseKeptConfiguration,
  parseSingleConfiguration,
} from '../../../../cni/invoke/network-configuration.ts';
import type { CniVersion } from '../../../../cni/wire/versions.ts';

const list = (extra: object = {}) =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }], ...extra });

test('a list: name, version, plugins with the capabilities that are true', (t) => {
  const plugins = [
    { type: 'bridge', bridge: 'br0', capabilities: { ips: true, mac: false } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ];
  const network = parseConfigurationList(list({ plugins, disableCheck: 'True' }));
  t.like(network, { name: 'net', cniVersion: '1.0.0', disableCheck: true, disableGC: false, isBuiltin: false });
  t.deepEqual(network.plugins, [
    { type: 'bridge', raw: { type: 'bridge', bridge: 'br0' }, capabilities: ['ips'] },
    { type: 'portmap', raw: { type: 'portmap' }, capabilities: ['portMappings'] },
  ]);
});

const versions: [given: object, chosen: CniVersion][] = [
  [{ cniVersion: undefined }, '0.1.0'],
  [{ cniVersion: '0.3.1' }, '0.3.1'],
  [{ cniVersion: undefined, cniVersions: ['0.4.0', '1.0.0', '0.3.1'] }, '1.0.0'],
  [{ cniVersion: '1.1.0', cniVersions: ['0.4.0'] }, '1.1.0'],
  [{ cniVersion: '0.4.0', cniVersions: ['7.0.0'] }, '0.4.0'],
];
for (const [given, chosen] of versions)
  test(`version: ${JSON.stringify(given)} → ${chosen}`, (t) => {
    t.is(parseConfigurationList(list(given)).cniVersion, chosen);
  });

const wrong: [text: string, message: RegExp][] = [
  ['', /^the file is not JSON/],
  ['7', /^the file is not a JSON object/],
  [list({ name: '' }), /^name: missing/],
  [list({ name: 7 }), /^name: 7 is not made of/],
  [list({ plugins: {} }), /^plugins: \{\} is not a list/],
  [list({ plugins: undefined }), /^plugins: the network has none/],
  [list({ plugins: undefined, loadOnlyInlinedPlugins: true }), /^plugins: missing, while loadOnlyInlinedPlugins/],
  [list({ plugins: ['bridge'] }), /^plugins\[0\]: "bridge" is not an object/],
  [list({ plugins: [{ type: 'a' }, { type: 7 }] }), /^plugins\[1\]\.type: missing/],
  [list({ plugins: [{ type: 'a', ipam: 'dhcp' }] }), /^plugins\[0\]\.ipam: "dhcp" is not an object/],
  [list({ plugins: [{ type: 'a', capabilities: [] }] }), /^plugins\[0\]\.capabilities: \[\] is not an object/],
  [list({ disableCheck: 'no' }), /^disableCheck: "no" is not true or false/],
  [list({ disableGC: 1 }), /^disableGC: 1 is not/],
  [list({ cniVersion: 1 }), /^cniVersion: 1 is not a text/],
  [list({ cniVersion: '9.0.0' }), /^cniVersion: "9\.0\.0" is not known; known are 0\.1\.0/],
  [list({ cniVersion: undefined, cniVersions: ['9.0.0'] }), /^cniVersions: none of \["9\.0\.0"\]/],
  [list({ cniVersions: '1.0.0' }), /^cniVersions: "1\.0\.0" is not a list/],
];
for (const [text, message] of wrong)
  test(`refused: ${text}`, (t) => {
    t.throws(() => parseConfigurationList(text), { instanceOf: ConfigurationError, message });
  });

test('a conf becomes a list of one; a list under its name is refused with the way out', (t) => {
  const network = parseSingleConfiguration('{"cniVersion": "0.3.1", "name": "one", "type": "ptp", "mtu": 1400}');
  t.like(network, { name: 'one', cniVersion: '0.3.1' });
  t.deepEqual(network.plugins[0]?.raw, { cniVersion: '0.3.1', name: 'one', type: 'ptp', mtu: 1400 });
  t.is(parseConfigurationList(network.text).plugins.length, 1, 'what is kept can be read again');
  t.throws(() => parseSingleConfiguration(list()), { message: /belongs in a file that ends in \.conflist/ });
});

test('the directory: files by name, the first that can be used, others told; plugins of its folder are appended', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'net.d-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
  t.deepEqual(readConfigurationDirectory(join(directory, 'none')), { configuration: undefined, problems: [] });
  write('README', 'no configuration');
  write('00-broken.conflist', '{');
  write('20-net.conflist', list());
  write('30-other.conf', '{"name": "other", "type": "ptp"}');
  mkdirSync(join(directory, '10-folder.conflist'));
  mkdirSync(join(directory, 'net'));
  write('net/b.conf', '{"type": "tuning"}');
  write('net/a.conf', '{"type": "portmap", "capabilities": {"portMappings": true}}');
  write('net/c.json', '{"type": "ignored"}');
  const { configuration, problems } = readConfigurationDirectory(directory);
  t.is(configuration?.file, join(directory, '20-net.conflist'));
  t.deepEqual(
    configuration?.plugins.map(({ type }) => type),
    ['bridge', 'portmap', 'tuning'],
  );
  t.is(parseConfigurationList(configuration!.text).plugins.length, 3, 'what is kept needs no folder');
  t.deepEqual(
    problems.map(({ file }) => file),
    [join(directory, '00-broken.conflist')],
  );
  write('20-net.conflist', list({ loadOnlyInlinedPlugins: true }));
  t.is(readConfigurationDirectory(directory).configuration?.plugins.length, 1);
  t.is(readConfigurationDirectory(directory, ({ name }) => name === 'other').configuration?.name, 'other');
  writeFileSync(join(directory, 'file'), '');
  t.regex(readConfigurationDirectory(join(directory, 'file')).problems[0]!.message, /ENOTDIR/);
});

test('auto passes over networks that are meant for single containers', (t) => {
  const meant = (extra: object) => isMeantForPods(parseConfigurationList(list(extra)));
  t.true(meant({}));
  t.false(meant({ plugins: [{ type: 'loopback' }] }));
  t.false(meant({ name: 'podman' }));
  t.false(meant({ plugins: [{ type: 'bridge', bridge: 'cni-podman0' }] }));
  t.false(meant({ nerdctlID: 'x' }));
});

test('the built-in network is a conflist: ranges of both families, chained plugins as the pod needs them', (t) => {
  const options = {
    name: 'berth',
    bridge: 'cni0',
    dataDir: '/data',
    podCidrs: ['10.244.1.0/24', 'fd00::/64'],
    mtu: 1450,
  };
  const whole = buildBuiltinNetwork(options);
  t.like(whole, { name: 'berth', cniVersion: '1.1.0', isBuiltin: true });
  t.like(whole.plugins[0]?.raw, {
    type: 'bridge',
    bridge: 'cni0',
    isDefaultGateway: true,
    hairpinMode: true,
    mtu: 1450,
    ipam: { type: 'host-local', dataDir: '/data' },
  });
  t.deepEqual((whole.plugins[0]!.raw['ipam'] as { ranges: unknown }).ranges, [
    [{ subnet: '10.244.1.0/24' }],
    [{ subnet: 'fd00::/64' }],
  ]);
  const types = (needs: string[]) => buildBuiltinNetwork(options, needs).plugins.map(({ type }) => type);
  t.deepEqual(types([]), ['bridge']);
  t.deepEqual(types(['portMappings']), ['bridge', 'portmap']);
  t.deepEqual(types(['bandwidth']), ['bridge', 'bandwidth']);
});

test('a pipe among the files is passed over, not waited for', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'net.d-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  t.is(spawnSync('/usr/bin/mkfifo', [join(directory, '10-pipe.conflist')]).status, 0);
  writeFileSync(join(directory, '20-net.conflist'), list());
  const { configuration, problems } = readConfigurationDirectory(directory);
  t.is(configuration?.file, join(directory, '20-net.conflist'));
  t.deepEqual(problems, [{ file: join(directory, '10-pipe.conflist'), message: 'it is no plain file' }]);
});

test('what is kept with an attachment may be a plugin’s configuration on its own', (t) => {
  t.like(parseKeptConfiguration('{"cniVersion":"0.3.1","name":"one","type":"bridge"}'), {
    name: 'one',
    cniVersion: '0.3.1',
    plugins: { length: 1, 0: { type: 'bridge' } },
  });
  t.like(parseKeptConfiguration(list()), { plugins: { length: 1 } });
  t.throws(() => parseKeptConfiguration('{"name":"one"}'), { message: /^plugins\[0\]\.type: missing/ });
});
