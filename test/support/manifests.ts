/** Small manifests for tests that go through kubectl. Every pod gets a grace of 1 s, so that tests needn't wait for shells that ignore SIGTERM. */

export const BUSYBOX = 'berth/busybox:1';
export const NGINX = 'berth/nginx:1';

interface PodParts {
  labels?: Record<string, string>;
  namespace?: string;
}

/** A pod of these spec fields; its one container `main` is busybox with `container`'s fields, unless `spec` names others. */
export function pod(name: string, container: object, spec: object = {}, { labels, namespace }: PodParts = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...(labels && { labels }), ...(namespace && { namespace }) },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: BUSYBOX, ...container }],
      ...spec,
    },
  };
}

/** `command` of a container that runs a shell script. */
export function script(text: string): { command: string[] } {
  return { command: ['sh', '-c', text] };
}

/** A script that serves its host name on `port` to whoever asks. */
export function httpServer(port = 80): { command: string[] } {
  return script(`mkdir -p /www; hostname >/www/index.html; exec httpd -f -p ${port} -h /www`);
}

export function service(name: string, selector: Record<string, string>, spec: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector, ports: [{ port: 80 }], ...spec },
  };
}

/** A Deployment of `replicas` pods labelled `app: name`, with these fields of its container. */
export function deployment(name: string, replicas: number, container: object, spec: object = {}): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'main', image: BUSYBOX, ...container }] },
      },
      ...spec,
    },
  };
}
