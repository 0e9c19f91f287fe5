/** Configurations of a host carried out for pods: with Debian's plugins as programs, with ours in process, and from one to the other. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { eventually } from '../../support/agent.ts';
import { BRIDGE, podPair, sandbox, setUpInvoke } from '../../support/cni-invoke.ts';
import { createTestNetns } from '../../support/netns.ts';

const never = new AbortController().signal;
const reference = debianProgramPath(CHECKOUT, cniPlugins);
const withReference = existsSync(reference) ? test : test.skip;

withReference('Debian’s plugins do the work where they are installed: bridge, host-local, portmap', async (t) => {
  const { open, write, conflist, ipam, leases, cached, base, host, hostLinks } = await setUpInvoke(t);
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }, portmap]));
  const network = open({ binDirs: [reference] });
  t.deepEqual(network.status(), { ready: true });
  const pods = await podPair(t);
  const hostPorts = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' as const }];
  const one = sandbox(pods[0], 'one', { hostPorts });
  t.deepEqual(await network.attach(one, never), { ips: ['10.9.0.2'] });
  t.deepEqual(await network.attach(sandbox(pods[1], 'two'), never), { ips: ['10.9.0.3'] });
  await t.notThrowsAsync(pods[0].run('busybox', ['ping', '-c1', '-W20', '10.9.0.3']));
  t.regex(await host.run('iptables-save', ['-t', 'nat']), /CNI-HOSTPORT-DNAT.*8080/, 'its iptables backend');
  t.deepEqual(cached().sort(), ['net-id-one-eth0', 'net-id-two-eth0']);
  const kept = JSON.parse(readFileSync(join(base, 'results/net-id-one-eth0'), 'utf8'));
  t.like(kept, { kind: 'cniCacheV1', containerId: 'id-one', ifName: 'eth0', networkName: 'net', netns: pods[0].path });
  t.deepEqual(kept.capabilityArgs, { portMappings: hostPorts });
  t.deepEqual(JSON.parse(Buffer.from(kept.config, 'base64').toString()).plugins.length, 2);
  t.deepEqual(kept.cniArgs[0], ['IgnoreUnknown', '1']);
  t.is(kept.result.ips[0].address, '10.9.0.2/24');

  const restarted = open({ binDirs: [reference] });
  t.deepEqual(restarted.ips('id-one'), ['10.9.0.2']);
  // Debian's portmap (1.1.1) fails its own CHECK of a pod with host ports and no IPv6; this one has none.
  t.deepEqual(await restarted.attach(sandbox(pods[1], 'two'), never), { ips: ['10.9.0.3'] }, 'whole: taken as it is');
  await restarted.detach({ ...one, netnsPath: undefined, findNetns: async () => pods[0].path });
  await restarted.detach({ ...sandbox(pods[1], 'two'), netnsPath: undefined });
  t.deepEqual([leases(), cached()], [[], []]);
  t.notRegex(await pods[0].ip('link'), /eth0/, 'it was told where');
  t.notRegex(await host.run('iptables-save', ['-t', 'nat']), /8080/);
  t.is(
    (await hostLinks()).filter((name) => name.startsWith('veth')).length,
    1,
    'not told: the pair goes with its namespace',
  );
});

withReference('a node switches over with pods running: from Debian’s plugins to ours, and back', async (t) => {
  for (const [makers, removers] of [
    [[reference], []],
    [[], [reference]],
  ]) {
    const { open, write, conflist, ipam, leases, cached, hostLinks } = await setUpInvoke(t);
    write(
      '10-net.conflist',
      conflist([
        { ...BRIDGE, ipam: ipam() },
        { type: 'portmap', backend: 'iptables', capabilities: { portMappings: true } },
      ]),
    );
    const pods = await podPair(t);
    const hostPorts = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' as const }];
    const one = sandbox(pods[0], 'one', { hostPorts });
    await open({ binDirs: makers }).attach(one, never);
    const later = open({ binDirs: removers });
    t.deepEqual(later.ips('id-one'), ['10.9.0.2']);
    const two = sandbox(pods[1], 'two');
    t.deepEqual(await later.attach(two, never), { ips: ['10.9.0.3'] }, 'no address twice');
    await t.notThrowsAsync(pods[1].run('busybox', ['ping', '-c1', '-W20', '10.9.0.2']));
    await later.detach(one);
    await later.detach(two);
    t.deepEqual([leases(), cached()], [[], []]);
    t.deepEqual(
      (await hostLinks()).filter((name) => name.startsWith('veth')),
      [],
    );
  }
});

test('auto: a configuration that appears wins over the built-in network; what was attached goes as it came', async (t) => {
  const { open, write, conflist, ipam, leases, hostLinks, confDir } = await setUpInvoke(t);
  const network = open({ mode: 'auto' });
  const stop = new AbortController();
  const running = network.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  const pods = await podPair(t);
  const old = sandbox(pods[0], 'one');
  t.deepEqual(await network.attach(old, never), { ips: ['10.244.1.2'] });
  // Of an engine for single containers: it is there on many machines.
  write(
    '05-podman.conflist',
    conflist([{ type: 'bridge', bridge: 'cni-podman0', ipam: ipam('10.88.0.0/16') }], { name: 'podman' }),
  );
  write('07-broken.conflist', '{"name": "broken", "plugins": ');
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }]));
  await eventually('it is in use', () =>
    network.told.some((one) => one.startsWith('NetworkConfigured: Pods get network net (')),
  );
  const two = sandbox(pods[1], 'two');
  t.deepEqual(await network.attach(two, never), { ips: ['10.9.0.2'] });
  t.deepEqual([network.ips('id-one'), network.ips('id-two')], [['10.244.1.2'], ['10.9.0.2']]);

  rmSync(join(confDir, '10-net.conflist'));
  await eventually('its absence is seen', () => !network.status().ready);
  t.regex(JSON.stringify(network.status()), /cni config uninitialized.*07-broken\.conflist: the file is not JSON/);
  await network.detach(two);
  await network.detach(old);
  t.deepEqual([leases(), leases('berth')], [[], []]);
  t.deepEqual(
    (await hostLinks()).filter((name) => name.startsWith('veth')),
    [],
  );
});

test('directory: not ready without a usable configuration, each file’s problem told by field; ready when one comes', async (t) => {
  const { open, write, conflist, ipam, confDir } = await setUpInvoke(t);
  const cases: [string, string, RegExp][] = [
    ['no JSON', '{"name"', /10-net\.conflist: the file is not JSON/],
    ['no object', '[]', /the file is not a JSON object/],
    ['no name', JSON.stringify({ plugins: [{ type: 'bridge' }] }), /name: missing/],
    ['bad name', conflist([{ type: 'bridge' }], { name: '../etc' }), /name: "\.\.\/etc" is not made of letters/],
    ['no plugins', conflist([]), /plugins: the list is empty/],
    ['no type', conflist([{ bridge: 'br0' }]), /plugins\[0\]\.type: missing/],
    ['a path for a type', conflist([{ type: '../../bin/sh' }]), /plugins\[0\]\.type: ".*" is a path/],
    [
      'version',
      conflist([{ type: 'bridge' }], { cniVersion: '9.9.9' }),
      /cniVersion: "9\.9\.9" is not known; known are 0\.1\.0/,
    ],
    [
      'capability',
      conflist([{ type: 'bridge', capabilities: { portMappings: 'yes' } }]),
      /plugins\[0\]\.capabilities\.portMappings: "yes"/,
    ],
    [
      'unknown plugin',
      conflist([{ type: 'bridge', ipam: {} }, { type: 'nobody' }]),
      /plugins\[1\] \(nobody\): failed to find plugin "nobody" in path \[/,
    ],
    [
      'value of ours',
      conflist([{ type: 'bridge', mtu: 'big', ipam: ipam() }]),
      /plugins\[0\] \(bridge\): mtu: "big" is not .*CNI error 7/,
    ],
  ];
  for (const [name, text, expected] of cases) {
    write('10-net.conflist', text);
    const network = open();
    const status = network.status();
    t.like(status, { ready: false, reason: 'NetworkPluginNotReady' }, name);
    t.regex(JSON.stringify(status).replaceAll('\\"', '"'), expected, name);
  }
  rmSync(join(confDir, '10-net.conflist'));
  const network = open();
  t.regex(JSON.stringify(network.status()), /cni config uninitialized: no usable network configuration in /);
  const pod = await createTestNetns(t, 'pod');
  await t.throwsAsync(network.attach(sandbox(pod, 'pod'), never), { message: /cni config uninitialized/ });
  const stop = new AbortController();
  const running = network.run(stop.signal);
  write('10-net.conf', JSON.stringify({ cniVersion: '0.4.0', name: 'single', ...BRIDGE, ipam: ipam() }));
  await eventually('it is seen', () => network.status().ready);
  t.deepEqual(await network.attach(sandbox(pod, 'pod'), never), { ips: ['10.9.0.2'] });
  await network.detach(sandbox(pod, 'pod'));
  stop.abort();
  await running;
});

test('plugins of others that misbehave: the error says which and how, nothing half-made stays, a good one later works', async (t) => {
  const { open, write, conflist, ipam, program, leases, cached, hostLinks, base } = await setUpInvoke(t);
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }, { type: 'theirs' }]));
  const versions = 'test "$CNI_COMMAND" = VERSION && { echo \'{"supportedVersions":["1.0.0"]}\'; exit; };';
  const onlyAdd = `${versions} cat >/dev/null; test "$CNI_COMMAND" = ADD || exit 0;`;
  const network = open();
  const cases: [string, string, RegExp, typeof network?][] = [
    ['garbage', 'echo hello', /plugin type="theirs" printed what is no JSON; hello \(CNI error 6\)/],
    ['nothing', 'exit 0', /plugin type="theirs" failed \(add\): it printed no result \(CNI error 6\)/],
    ['a bad result', 'echo \'{"cniVersion":"1.0.0","ips":7}\'', /could not parse the result: ips.*CNI error 6/],
    [
      'its own error',
      'echo \'{"code":111,"msg":"no more","details":"of them"}\'; exit 1',
      /failed \(add\): no more; of them \(CNI error 111\)/,
    ],
    [
      'a crash',
      'echo oops >&2; kill -SEGV $$',
      /plugin type="theirs" failed \(add\): .*killed by SIGSEGV.*oops.*CNI error 5/,
    ],
    [
      'much on stderr',
      'yes line | head -c 3000000 >&2; exit 3',
      /failed \(add\) without a word; [\s\S]{1000,2100} \(CNI error 5\)$/,
    ],
    [
      'a hang',
      'sleep 1000',
      /plugin type="theirs" failed \(add\): .*no end after 3000 ms, killed.*CNI error 5/,
      // All that does answer has a minute.
      open({ pluginTimeoutMs: 3000 }),
    ],
  ];
  for (const [name, script, expected, hasty] of cases) {
    program('theirs', `${onlyAdd} ${script}`);
    const pod = await createTestNetns(t, 'pod');
    await t.throwsAsync((hasty ?? network).attach(sandbox(pod, 'pod'), never), { message: expected }, name);
    t.deepEqual([leases(), cached(), await hostLinks()], [[], [], ['lo', 'br0']], name);
  }
  // It reads no input and passes on what came before, as a chained plugin must.
  program(
    'theirs',
    `${versions} cat >${base}/stdin; test "$CNI_COMMAND" = ADD || exit 0; sed 's/.*"prevResult"://; s/}$//' ${base}/stdin`,
  );
  const pod = await createTestNetns(t, 'pod');
  t.deepEqual(await network.attach(sandbox(pod, 'pod'), never), { ips: ['10.9.0.9'] });
  t.deepEqual(Object.keys(JSON.parse(readFileSync(join(base, 'stdin'), 'utf8'))).sort(), [
    'cniVersion',
    'name',
    'prevResult',
    'type',
  ]);

  program('theirs', `${versions} test "$CNI_COMMAND" = DEL && { echo '{"code":11,"msg":"not now"}'; exit 1; }; exit 0`);
  await t.throwsAsync(network.detach(sandbox(pod, 'pod')), { message: /not now/ });
  t.deepEqual([leases(), cached()], [['10.9.0.9'], ['net-id-pod-eth0']], 'kept until it can be undone');
  program('theirs', `${versions} exit 0`);
  await open().collect(new Set());
  t.deepEqual([leases(), cached()], [[], []]);
});

test('a plugin that does not know the network’s version keeps the node from being ready, as one that says so does', async (t) => {
  const { open, write, conflist, program } = await setUpInvoke(t);
  write('10-net.conflist', conflist([{ type: 'theirs' }], { cniVersions: ['1.1.0', '2.0.0'] }));
  program('theirs', 'cat >/dev/null; echo \'{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}\'');
  const statusOf = async () => {
    const network = open();
    const stop = new AbortController();
    const running = network.run(stop.signal);
    await eventually('it is asked', () => network.told.length > 0);
    stop.abort();
    await running;
    return JSON.stringify(network.status()).replaceAll('\\"', '"');
  };
  t.regex(
    await statusOf(),
    /incompatible CNI versions; config is "1\.1\.0", plugin theirs supports \["0\.4\.0","1\.0\.0"\]/,
  );
  const knowing = 'test "$CNI_COMMAND" = VERSION && { echo \'{"supportedVersions":["1.1.0"]}\'; exit; };';
  program('theirs', `cat >/dev/null; ${knowing} echo '{"code":50,"msg":"no controller","details":"wait"}'; exit 1`);
  t.regex(
    await statusOf(),
    /10-net\.conflist: plugin type="theirs" failed \(status\): no controller; wait \(CNI error 50\)/,
  );
  program('theirs', `cat >/dev/null; ${knowing} exit 0`);
  t.is(await statusOf(), '{"ready":true}');
});

test('R3: what dead sandboxes hold is released at start, ours and another runtime’s; a runtime’s living ones are spared', async (t) => {
  const { open, write, conflist, ipam, leases, cached, base } = await setUpInvoke(t);
  write('10-net.conflist', conflist([{ ...BRIDGE, ipam: ipam() }], { cniVersion: '1.1.0' }));
  const pods = await Promise.all(['ours', 'theirs', 'alive', 'live'].map((name) => createTestNetns(t, name)));
  const network = open();
  for (const [index, name] of ['ours', 'theirs', 'alive', 'live'].entries())
    await network.attach(sandbox(pods[index]!, name), never);
  t.is(leases().length, 4);
  // As libcni writes them: without our mark. One of the two is of before a reboot.
  for (const [name, netns] of [
    ['theirs', '/run/netns/gone'],
    ['alive', pods[2]!.path],
  ]) {
    const file = join(base, `results/net-id-${name}-eth0`);
    const { runtime, ...kept } = JSON.parse(readFileSync(file, 'utf8'));
    t.is(runtime, 'berth');
    writeFileSync(file, JSON.stringify({ ...kept, netns }));
  }
  // Reserved by a process that was killed before it wrote anything else, and by one of before there was a cache.
  writeFileSync(join(base, 'networks/net/10.9.0.77'), 'id-killed\r\neth0');
  mkdirSync(join(base, 'networks/berth'), { recursive: true });
  writeFileSync(join(base, 'networks/berth/10.244.1.9'), 'id-old\r\neth0');
  const restarted = open();
  t.deepEqual(restarted.ips('id-old'), ['10.244.1.9']);
  await restarted.collect(new Set(['id-live']));
  t.deepEqual(leases().sort(), ['10.9.0.4', '10.9.0.5']);
  t.deepEqual(leases('berth'), []);
  t.deepEqual(cached().sort(), ['net-id-alive-eth0', 'net-id-live-eth0']);
});

test('killed in any plugin of ADD or DEL: the next process completes or releases it, without a leak or a duplicate', async (t) => {
  const child = join(import.meta.dirname, '../../support/hanging-attach-child.ts');
  for (const [index, [where, command]] of (
    [
      ['first', 'ADD'],
      ['last', 'ADD'],
      ['last', 'DEL'],
      ['first', 'DEL'],
    ] as const
  ).entries()) {
    const { open, write, conflist, ipam, program, leases, cached, hostLinks, host, base } = await setUpInvoke(t);
    const chain = [{ ...BRIDGE, ipam: ipam() }, { type: 'theirs' }];
    write('10-net.conflist', conflist(where === 'last' ? chain : [{ type: 'theirs' }, { ...BRIDGE, ipam: ipam() }]));
    const passOn = `test "$CNI_COMMAND" = ADD || exit 0; grep -q prevResult ${base}/stdin && sed 's/.*"prevResult"://; s/}$//' ${base}/stdin || echo '{"cniVersion":"1.0.0"}'`;
    const good = `cat >${base}/stdin; ${passOn}`;
    program(
      'theirs',
      `cat >${base}/stdin; [ "$CNI_COMMAND" != ${command} ] || { touch ${base}/hangs; exec sleep 60; }; ${passOn}`,
    );
    const pod = await createTestNetns(t, 'pod');
    const process_ = spawn(process.execPath, [child, host.path, pod.path, base, 'detach'], { stdio: 'ignore' });
    await eventually('it hangs', () => existsSync(join(base, 'hangs')), 20_000);
    process_.kill('SIGKILL');
    await once(process_, 'exit');
    program('theirs', good);
    const what = `${command} of the ${where}`;
    if (index % 2 === 0) {
      const next = open();
      const { ips } = await next.attach(sandbox(pod, 'one'), never);
      t.deepEqual([leases(), cached()], [ips, ['net-id-one-eth0']], what);
      t.is((await hostLinks()).filter((name) => name.startsWith('veth')).length, 1, what);
      await t.notThrowsAsync(host.run('busybox', ['ping', '-c1', '-W20', ips[0]!]), what);
      await next.detach(sandbox(pod, 'one'));
    } else await open().collect(new Set());
    t.deepEqual([leases(), cached()], [[], []], what);
    t.deepEqual(
      (await hostLinks()).filter((name) => name.startsWith('veth')),
      [],
      what,
    );
  }
});
