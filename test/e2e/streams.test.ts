/** kubectl's other half: exec, attach, cp, port-forward, run -i, over WebSocket (as kubectl does) and SPDY/3.1 (as it did, and as kube-apiserver does to nodes). */
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import test from 'ava';
import {
  type ClusterHost,
  type CommandResult,
  createClusterHost,
  KUBECONFIG,
  kubectlOrWhyNot,
  until,
  whyNoHost,
} from '../support/cluster-host.ts';
import { httpServer, pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;
const program = 'program' in kubectl ? kubectl.program : 'kubectl';

let cluster: ClusterHost;

test.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('streams');
  await cluster.berthOk('up');
  await cluster.loadImages();
  await cluster.apply(
    pod('web', httpServer(8080)),
    // Only whoever is in the pod reaches it.
    pod('shy', script('mkdir -p /www; echo shy >/www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /www')),
    pod('cat', { stdin: true, stdinOnce: true, command: ['cat'] }, { restartPolicy: 'Never' }),
    pod('shell', { stdin: true, tty: true, command: ['sh'] }),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
});
test.after.always(() => cluster?.close());

const PROTOCOLS = [
  ['WebSocket', {}],
  ['SPDY', { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false', KUBECTL_PORT_FORWARD_WEBSOCKETS: 'false' }],
] as const;

for (const [protocol, env] of PROTOCOLS) {
  const run = (args: string[], input?: string): Promise<CommandResult> =>
    cluster.host.run([program, ...args], { env: { KUBECONFIG, ...env }, input, timeoutMs: 60_000 });

  story(`${protocol}: exec keeps stdout, stderr and the exit code apart`, async (t) => {
    const result = await run(['exec', 'web', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
    t.is(result.stdout, 'out\n');
    t.is(result.stderr, 'err\ncommand terminated with exit code 3\n');
    t.is(result.code, 3);
    t.is((await run(['exec', 'web', '--', 'true'])).code, 0);
  });

  story(`${protocol}: megabytes go in and come out whole; the end of the input is the command's`, async (t) => {
    const text = randomBytes(3_000_000).toString('hex');
    const { stdout } = await run(['exec', '-i', 'web', '--', 'sha256sum'], text);
    t.is(stdout.split(' ')[0], createHash('sha256').update(text).digest('hex'));
    const echoed = await run(['exec', '-i', 'web', '--', 'cat'], text);
    t.true(echoed.stdout === text, `${echoed.stdout.length} of ${text.length} characters came back`);
    const long = await run(['exec', 'web', '--', 'sh', '-c', 'head -c 30000000 /dev/zero | tr "\\0" a']);
    t.is(long.stdout.length, 30_000_000);
  });

  story(`${protocol}: a command that is not there, a container that is not there`, async (t) => {
    const missing = await run(['exec', 'web', '--', 'nosuch']);
    t.regex(`${missing.stdout}${missing.stderr}`, /"nosuch": executable file not found/);
    t.not(missing.code, 0);
    t.regex((await run(['exec', 'web', '-c', 'nope', '--', 'true'])).stderr, /container nope is not valid for pod web/);
  });

  story(`${protocol}: a terminal has its size, and a change of it arrives`, async (t) => {
    const seen = `/tmp/seen-${protocol}`;
    const size = (is: string) => `until [ "$(stty size 2>/dev/null)" = "${is}" ]; do sleep 0.1; done; echo ${is}`;
    const inside = `${size('30 90')}; touch ${seen}; ${size('41 121')}; tty`;
    const terminal = `T=$(tty); stty -F "$T" rows 30 cols 90
      (until ${program} exec web -- test -e ${seen}; do sleep 0.2; done 2>/dev/null; stty -F "$T" rows 41 cols 121) &
      exec ${program} exec -it web -- sh -c '${inside}'`;
    writeFileSync(cluster.host.path('/srv/terminal.sh'), terminal);
    const { stdout } = await cluster.host.run(['script', '-qec', 'sh /srv/terminal.sh', '/dev/null'], {
      env: { KUBECONFIG, ...env, TERM: 'xterm' },
      timeoutMs: 30_000,
    });
    t.regex(stdout, /30 90\r?$/m, stdout);
    t.regex(stdout, /41 121\r?$/m, stdout);
    t.regex(stdout, /\/dev\/(pts\/\d|console)/);
  });

  story(`${protocol}: cp both ways`, async (t) => {
    const bytes = randomBytes(2_000_000);
    writeFileSync(cluster.host.path('/srv/there'), bytes);
    t.is((await run(['cp', '/srv/there', 'web:/tmp/there'])).code, 0);
    t.is((await run(['cp', 'web:/tmp/there', '/srv/back'])).code, 0);
    t.is((await cluster.try(['cmp', '/srv/there', '/srv/back'])).code, 0);
  });

  story(`${protocol}: cp takes whole trees, links as links on their way in, and none on their way out`, async (t) => {
    const [source, there, back] = [`/srv/tree-${protocol}`, `/tmp/tree-${protocol}`, `/srv/back-${protocol}`];
    await cluster.sh(`mkdir -p ${source}/deep/er; cd ${source}; head -c 40000000 /dev/urandom >deep/big; : >empty
      echo text >'deep/er/a name'; chmod 750 deep/big; ln -s deep/big link; ln -s /etc/passwd outside`);
    t.is((await run(['cp', source, `web:${there}`])).code, 0);
    const listed = await run([
      'exec',
      'web',
      '--',
      'sh',
      '-c',
      `cd ${there}; readlink link; find . -type f | sort; stat -c %a deep/big`,
    ]);
    t.is(listed.stdout, 'deep/big\n./deep/big\n./deep/er/a name\n./empty\n750\n');
    const { code, stdout, stderr } = await run(['cp', `web:${there}`, back]);
    t.is(code, 0);
    t.regex(`${stdout}${stderr}`, /skipping symlink/, 'kubectl writes no links that a pod may have made');
    await cluster.sh(
      `cmp ${source}/deep/big ${back}/deep/big; cmp '${source}/deep/er/a name' '${back}/deep/er/a name'; ! test -e ${back}/outside`,
    );
  });

  story(
    `${protocol}: a connection that ends its sending half through port-forward still gets its answer`,
    async (t) => {
      const forwarding = cluster.host.spawn([program, 'port-forward', 'pod/web', '9010:7000'], {
        env: { ...process.env, KUBECONFIG, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const said = collect(forwarding);
      await until('it forwards', async () => said().includes('9010 -> 7000'));
      // The pod counts until the end of what comes, then answers.
      const counter = cluster.host.run(
        [program, 'exec', 'web', '--', 'sh', '-c', "nc -l -p 7000 -e sh -c 'cat >/tmp/got; wc -c </tmp/got'"],
        {
          env: { KUBECONFIG, ...env },
          timeoutMs: 30_000,
        },
      );
      await until('the pod listens', async () => (await cluster.inPod('web', 'netstat -ltn')).output.includes(':7000'));
      const client = `const c = require('net').connect({ port: 9010, host: '127.0.0.1', allowHalfOpen: true });
      c.pipe(process.stdout); c.end(Buffer.alloc(3000000))`;
      t.is((await cluster.try([process.execPath, '-e', client])).stdout.trim(), '3000000');
      await counter;
      await signalInside('INT', 'port-forward pod/web', forwarding);
    },
  );

  story(`${protocol}: port-forward reaches the pod's loopback, many at a time; a closed port is said`, async (t) => {
    const forwarding = cluster.host.spawn([program, 'port-forward', 'pod/shy', '9000:8080', '9001:81'], {
      env: { ...process.env, KUBECONFIG, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const said = collect(forwarding);
    await until('it forwards', async () => said().includes('9001 -> 81'));
    const script = 'for i in $(seq 20); do curl -sf -m 5 http://127.0.0.1:9000/ & done; wait';
    t.is(await cluster.sh(script), 'shy\n'.repeat(20));
    t.not((await cluster.try(['curl', '-s', '-m', '3', 'http://127.0.0.1:9001/'])).code, 0);
    await until('what went wrong is said', async () =>
      /error forwarding port 81 to pod shy.*ECONNREFUSED/.test(said()),
    );
    // kubectl itself gives up after such an error, sooner or later.
    await signalInside('INT', 'port-forward pod/shy', forwarding);
  });

  story(`${protocol}: who leaves in the middle leaves nothing behind`, async (t) => {
    const before = await openDescriptors();
    const leaving = cluster.host.spawn([program, 'exec', '-i', 'web', '--', 'sleep', '4321'], {
      env: { ...process.env, KUBECONFIG, ...env },
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    await until('the command runs', async () => (await cluster.try(['pgrep', '-xf', 'sleep 4321'])).code === 0);
    await signalInside('KILL', 'exec -i web -- sleep 4321', leaving);
    await until('the command is gone', async () => (await cluster.try(['pgrep', '-xf', 'sleep 4321'])).code !== 0);
    await until('the descriptors are back', async () => (await openDescriptors()) <= before + 2);
    t.pass();
  });
}

story('attach speaks to the container itself', async (t) => {
  const { stdout } = await cluster.tryKubectl(['attach', '-i', 'cat'], 'hello\n');
  t.is(stdout, 'hello\n');
  await cluster.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/cat', '--timeout=20s');
  t.is(await cluster.kubectl('logs', 'cat'), 'hello\n');
});

story('run -i --rm: a shell for a moment, with its exit code', async (t) => {
  const args = ['run', 'once', '-i', '--rm', '--quiet', '--restart=Never', '--image=berth/busybox:1', '--', 'sh'];
  const { code, stdout } = await cluster.tryKubectl(args, 'echo in; exit 5\n');
  t.is(stdout, 'in\n');
  t.is(code, 5);
  t.not((await cluster.tryKubectl(['get', 'pod', 'once'])).code, 0);
});

story('the node itself: no certificate, no stream; tricks with paths are plain refusals', async (t) => {
  const node = `https://${cluster.address}:10250`;
  const upgrade = `-H 'Connection: Upgrade' -H 'Upgrade: SPDY/3.1' -H 'X-Stream-Protocol-Version: v4.channel.k8s.io'`;
  const ask = (options: string, path: string) =>
    cluster.sh(`curl -sk -m 5 --path-as-is -o /dev/null -w '%{http_code}' ${options} -X POST '${node}${path}' || true`);
  t.is(await ask(upgrade, '/exec/default/web/main?command=id&output=1'), '401');
  await cluster.berthOk('prometheus', '/srv/monitoring');
  const monitoring = '--cert /srv/monitoring/prometheus.crt --key /srv/monitoring/prometheus.key';
  t.is(await ask(`${upgrade} ${monitoring}`, '/exec/default/web/main?command=id&output=1'), '403');
  t.is(await ask(`${upgrade} ${monitoring}`, '/metrics/../exec/default/web/main?command=id&output=1'), '403');
  const pki = '/var/lib/berth/pki';
  const [certificate] = (await cluster.sh(`ls ${pki}/*kubelet-client*.crt`)).split('\n');
  const own = `--cert ${certificate} --key ${certificate!.replace(/crt$/, 'key')}`;
  for (const [path, code] of [
    ['/exec/default/web/main', '400'],
    ['/exec/default/web/main?command=id', '400'],
    ['/exec/default/nobody/main?command=id&output=1', '404'],
    ['/exec/default/web/nobody?command=id&output=1', '404'],
    ['/exec/default/..%2f..%2fetc/main?command=id&output=1', '404'],
    ['/exec/default/%E0%A4%A/main?command=id&output=1', '400'],
    ['/exec/default/web/uid/main/more?command=id&output=1', '404'],
    ['/portForward/default/nobody', '404'],
  ] as const)
    t.is(await ask(`${upgrade} ${own}`, path), code, path);
  t.is(await ask(own, '/exec/default/web/main?command=id&output=1'), '400', 'no upgrade');
  t.is(
    await ask(`${upgrade.replace('v4.channel', 'v9.other')} ${own}`, '/exec/default/web/main?command=id&output=1'),
    '403',
  );
});

/** Ends a kubectl in the host: the child here only leads into it. */
async function signalInside(signal: string, words: string, child: ChildProcess): Promise<void> {
  const ended = child.exitCode === null ? once(child, 'exit') : undefined;
  await cluster.try(['pkill', `-${signal}`, '-f', `kubectl ${words}`]);
  await ended;
}

/** Of the daemon, which agent and API server are in. */
async function openDescriptors(): Promise<number> {
  return Number(await cluster.sh('ls /proc/$(cat /run/berth/berth.pid)/fd | wc -l'));
}

/** What a program prints, as far as it has. */
function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  return () => text;
}
