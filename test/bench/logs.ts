/**
 * `kubectl logs` of 1 GiB beside `docker logs` of the same container on the same engine, in turn: MiB/s of text to /dev/null, the CPU that each side took, and how
 * much the all-in-one process (API server and agent) grew while it streamed. Aims: ≥ 0.7 of the speed, ≤ 30 MiB.
 *
 *     .toolchain/bin/node test/bench/logs.ts [MiB] [rounds]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { DOCKER, prepareKubectl, shell, timed, watchRss } from './commands.ts';
import { berth, continueInside, cpuSeconds, IMAGE, say, summarize, withHost } from './support.ts';

const KUBELET_CONFIG = '/srv/kubelet.yaml';

if (process.argv[2] === 'inside') await inside(Number(process.argv[3]), Number(process.argv[4]));
else
  await withHost('bench-logs', async (host) => {
    const [mebibytes = '1024', rounds = '3'] = process.argv.slice(2);
    const config = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncontainerLogMaxSize: 16Gi\n';
    writeFileSync(host.path(KUBELET_CONFIG), config);
    await berth(host, 'up', '--kubelet-config', KUBELET_CONFIG);
    await berth(host, 'demo');
    await berth(host, 'demo', '--remove');
    await continueInside(host, import.meta.filename, mebibytes, rounds);
    await berth(host, 'down');
  });

async function inside(mebibytes: number, rounds: number): Promise<void> {
  const line = `yes "2026-11-20 12:00:00.000 INFO a line of a log, with \\"words\\" in quotes, as programs print them" | head -c ${mebibytes << 20}`;
  const spec = { restartPolicy: 'Never', containers: [{ name: 'main', image: IMAGE, command: ['sh', '-c', line] }] };
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'big' }, spec };
  await prepareKubectl();
  await shell('kubectl apply -f -', JSON.stringify(pod));
  await shell('kubectl wait --for=jsonpath={.status.phase}=Succeeded pod/big --timeout=900s');
  const id = (await shell(`${DOCKER} ps -aq --no-trunc -f name=k8s_main_big`)).trim();
  const daemon = Number(readFileSync('/run/berth/berth.pid', 'utf8'));
  const docker: number[] = [];
  const kubectl: number[] = [];
  const growth: number[] = [];
  const cpu: number[] = [];
  for (let round = 0; round < rounds; round++) {
    docker.push((mebibytes * 1000) / (await timed(`${DOCKER} logs ${id} >/dev/null`)));
    const cpuBefore = cpuSeconds(daemon);
    const rss = await watchRss([daemon]);
    kubectl.push((mebibytes * 1000) / (await timed('kubectl logs big >/dev/null')));
    growth.push(rss.growthMebibytes());
    cpu.push(cpuSeconds(daemon) - cpuBefore);
  }
  const [its, ours] = [summarize(docker).p50, summarize(kubectl).p50];
  say(`docker logs    ${docker.map(round0).join(', ')} MiB/s`);
  say(`kubectl logs   ${kubectl.map(round0).join(', ')} MiB/s`);
  say(`ratio of the medians ${(ours / its).toFixed(2)} (aim ≥ 0.7)`);
  say(
    `growth of the process ${growth.map((one) => one.toFixed(1)).join(', ')} MiB (aim ≤ 30); its CPU ${cpu.map((one) => one.toFixed(1)).join(', ')} s`,
  );
}

function round0(value: number): string {
  return value.toFixed(0);
}
