import type { DockerEngine } from '../../src/docker/engine.ts';
import { IMAGE, PATIENT } from './support.ts';

const PAUSE = 'berth/pause:1';

/** A pause and an app container, made and started one after the other by the Docker API: what a pod costs at least. Resolves to their ids, app first. */
export async function floorPair(docker: DockerEngine, name: string): Promise<[app: string, pause: string]> {
  const pause = await docker.createContainer(`${name}-pause`, {
    Image: PAUSE,
    HostConfig: { NetworkMode: 'none', IpcMode: 'shareable' },
  });
  await docker.startContainer(pause.id);
  const shared = `container:${pause.id}`;
  const app = await docker.createContainer(`${name}-app`, {
    Image: IMAGE,
    Entrypoint: PATIENT,
    HostConfig: { NetworkMode: shared, IpcMode: shared },
  });
  await docker.startContainer(app.id);
  return [app.id, pause.id];
}

/** A pod with what pods have: the ConfigMap `settings` and a bound token as volumes. */
export function realPod(name: string) {
  return {
    metadata: { name, labels: { app: 'bench' } },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'app',
          image: IMAGE,
          command: PATIENT,
          volumeMounts: [
            { name: 'settings', mountPath: '/etc/settings' },
            { name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true },
          ],
        },
      ],
      volumes: [
        { name: 'settings', configMap: { name: 'settings' } },
        {
          name: 'token',
          projected: {
            sources: [
              { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
              { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
              { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
            ],
          },
        },
      ],
    },
  };
}
