/** A second host that joins by a token: `berth token create` on the first, `berth join` on the second, and out again by `berth leave`. */
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { summarizeCertificate } from '../../src/auth/certificate.ts';
import type { CertificateSigningRequest } from '../../src/kube/schema/generated/types/certificates-v1.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { evaluateCheck, loadBenchmark } from '../support/kube-bench.ts';
import { httpServer, pod } from '../support/manifests.ts';
import { createNodeHost, type NodeHost } from '../support/node-host.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const chapter = skip ? test.serial.skip : test.serial;
const name = (title: string) => (skip ? `${title} (${skip})` : title);

const BERTH = join(CHECKOUT, 'berth');
const ROOT = '/var/lib/berth-node';

let one: ClusterHost;
let two: NodeHost;
let ticket: { token: string; server: string; caHash: string };

test.before(async () => {
  if (skip) return;
  one = await createClusterHost('first');
  [two] = await Promise.all([createNodeHost('second', one.net), one.berthOk('up', '--overlay-backend', 'vxlan')]);
  await one.loadImages();
});
test.after.always(async (t) => {
  if (two && !t.passed) t.log((await two.sh(`tail -n 40 ${ROOT}/log/node.log`)).stdout);
  await two?.close();
  await one?.close();
});

const berth = (...args: string[]) => two.sh(`${BERTH} ${args.join(' ')} 2>&1`);
const joinWith = (overrides: Partial<typeof ticket> = {}) => {
  const { server, token, caHash } = { ...ticket, ...overrides };
  return berth(
    'join',
    '--server',
    server,
    '--token',
    token,
    '--ca-hash',
    caHash,
    '--node-ip',
    two.address,
    '--node-name',
    'second',
  );
};
const otherHash = `sha256:${'0'.repeat(64)}`;

chapter(name('a token is made, and a host with a wrong one, or the wrong cluster, changes nothing'), async (t) => {
  ticket = JSON.parse(
    (await one.berthOk('token', 'create', '--ttl', '1h', '--description', 'rack', '-o', 'json')).stdout,
  );
  t.regex(ticket.token, /^[a-z0-9]{6}\.[a-z0-9]{16}$/);
  t.is(ticket.server, `https://${one.address}:6443`);
  const { stdout: list } = await one.berthOk('token', 'list');
  t.regex(list, new RegExp(`^${ticket.token.slice(0, 6)} +5\\dm +\\S+Z +rack$`, 'm'));
  t.false(list.includes(ticket.token.slice(7)));
  // The controller signs cluster-info a moment after the token is there.
  await until('the token is signed with', async () =>
    (await one.sh(`curl -sk ${ticket.server}/api/v1/namespaces/kube-public/configmaps/cluster-info`)).includes(
      `jws-kubeconfig-${ticket.token.slice(0, 6)}`,
    ),
  );
  for (const [overrides, says, code] of [
    [{ caHash: otherHash }, /shows a cluster CA with the hash sha256:\w+, not sha256:000/, 1],
    [{ token: 'abcdef.0123456789abcdef' }, /does not know the token abcdef: it may have expired/, 1],
    [{ token: `${ticket.token.slice(0, 6)}.0123456789abcdef` }, /is not signed with this token/, 1],
    [{ server: `https://${one.address}:6` }, /cannot be asked for the cluster's CA/, 1],
    [{ token: 'nonsense' }, /--token: expected a bootstrap token/, 2],
    [{ caHash: 'md5:1' }, /--ca-hash md5:1: expected sha256/, 2],
  ] as const) {
    const { code: got, stdout } = await joinWith(overrides);
    t.regex(stdout, says);
    t.is(got, code, stdout);
  }
  t.is((await two.sh(`ls ${ROOT} 2>&1 || true`)).stdout.includes('kubeconfig'), false);
});

chapter(name('it joins, with certificates that it asked for, and runs pods that kubectl reaches'), async (t) => {
  const joined = await joinWith();
  t.is(joined.code, 0, joined.stdout);
  t.regex(joined.stdout, /This host is node second of https:/);
  const node = await one.get<Node>('node', 'second');
  t.true(node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'));
  const requests = await until('both certificates are issued', async () => {
    const found = await one.list<CertificateSigningRequest>('csr');
    return found.length === 2 && found.every(({ status }) => status?.certificate) ? found : undefined;
  });
  t.deepEqual(requests.map(({ spec }) => [spec.signerName.split('/')[1], spec.username]).sort(), [
    ['kube-apiserver-client-kubelet', `system:bootstrap:${ticket.token.slice(0, 6)}`],
    ['kubelet-serving', 'system:node:second'],
  ]);
  t.log(await one.kubectl('get', 'csr'));
  const pem = (await two.sh(`cat ${ROOT}/pki/kubelet-client-current.pem`)).stdout;
  t.is(summarizeCertificate(pem.slice(pem.indexOf('-----BEGIN CERT'))).commonName, 'system:node:second');
  t.regex((await two.sh(`stat -L -c %a ${ROOT}/pki/*.pem ${ROOT}/node.kubeconfig`)).stdout, /^(600\n)+$/);
  t.is((await two.sh(`ls ${ROOT}/bootstrap.kubeconfig 2>&1`)).code === 0, false, 'the token is not kept');

  await one.apply(pod('there', httpServer(), { nodeName: 'second' }));
  await one.kubectl('wait', '--for=condition=Ready', 'pod/there', '--timeout=60s');
  t.is((await one.kubectl('exec', 'there', '--', 'hostname')).trim(), 'there');
  // The ways between the pods are those that the cluster has told it.
  const { podIP } = (await one.get<Pod>('pod', 'there')).status ?? {};
  await until(
    'the first host reaches its pods',
    async () => (await one.try(['curl', '-sfm2', `http://${podIP}/`])).code === 0,
  );
  t.regex((await two.sh('ip -d link show flannel.1')).stdout, /vxlan id 1 /);
  t.is((await one.kubectl('exec', 'there', '--', 'cat', '/sys/class/net/eth0/mtu')).trim(), '1450');
  const shown = await one.sh(
    `openssl s_client -connect ${two.address}:10250 </dev/null 2>/dev/null | openssl x509 -outform PEM`,
  );
  t.deepEqual(summarizeCertificate(shown).ipAddresses, [two.address]);
  t.regex(new X509Certificate(shown).issuer, /CN=/);
});

chapter(name('CIS Kubernetes Benchmark, section 4: all 25 items pass on both hosts, out of the box'), async (t) => {
  const hosts = {
    'berth up': { path: one.host.path, run: (script: string) => one.try(['sh', '-c', script]) },
    'berth join': { path: two.host.path, run: (script: string) => two.sh(script) },
  };
  for (const [command, host] of Object.entries(hosts)) {
    const checks = loadBenchmark(join(CHECKOUT, 'examples/kube-bench/cfg'), 'berth-cis-1.12', host.path);
    t.is(checks.length, 25);
    const problems = await Promise.all(
      checks.map((check) => evaluateCheck(check, async (script) => (await host.run(script)).stdout)),
    );
    t.deepEqual(problems.filter(Boolean), [], command);
  }
});

chapter(name('a token that was deleted lets nobody in; who has joined stays'), async (t) => {
  await one.berthOk('token', 'delete', ticket.token.slice(0, 6));
  t.regex((await one.berthOk('token', 'list')).stdout, /There are no bootstrap tokens/);
  t.regex((await joinWith()).stdout, /this host is node second of https:.* already: 'berth leave' undoes that/);
  await two.sh(`kill "$(cat ${ROOT}/node.pid)"`);
  t.is((await one.kubectl('get', 'node', 'second', '--no-headers')).split(/\s+/)[0], 'second');
});

chapter(name('it leaves, and nothing of it stays on the host'), async (t) => {
  const { code, stdout } = await berth('leave');
  t.is(code, 0, stdout);
  const left = await two.sh(
    `ls -d ${ROOT} /var/log/pods/* 2>/dev/null; ip -o link show cni0 2>/dev/null; iptables-save | grep KUBE; docker ps -aq; true`,
  );
  t.is(left.stdout, '');
  t.regex((await berth('leave')).stdout, /this host has joined no cluster/);
});
