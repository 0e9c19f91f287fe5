import type { AppArmorProfile, Container, Pod } from '../../src/kube/types.ts';

/** Before 1.30 profiles were asked for by annotations; clusters and manifests of that age still do. */
const ANNOTATION_PREFIX = 'container.apparmor.security.beta.kubernetes.io/';

/** The container's own profile, else the annotation's, else the pod's. */
export function appArmorProfileOf(pod: Pod, container: Container): AppArmorProfile | undefined {
  return (
    container.securityContext?.appArmorProfile ??
    parseAnnotation(pod.metadata.annotations?.[`${ANNOTATION_PREFIX}${container.name}`]) ??
    pod.spec.securityContext?.appArmorProfile
  );
}

function parseAnnotation(value: string | undefined): AppArmorProfile | undefined {
  if (value === 'unconfined') return { type: 'Unconfined' };
  if (value === 'runtime/default') return { type: 'RuntimeDefault' };
  if (value?.startsWith('localhost/')) return { type: 'Localhost', localhostProfile: value.slice('localhost/'.length) };
  return undefined;
}

/** Why the pod cannot have the profiles it asks for; undefined: it can. @param enabled the Engine confines by AppArmor */
export function whyNoAppArmor(pod: Pod, enabled: boolean): string | undefined {
  const { securityContext, containers, initContainers = [], ephemeralContainers = [] } = pod.spec;
  const all = [...containers, ...initContainers, ...(ephemeralContainers as Container[])];
  const profiles = [securityContext?.appArmorProfile, ...all.map((container) => appArmorProfileOf(pod, container))];
  for (const profile of profiles) {
    if (!profile || profile.type === 'Unconfined') continue;
    if (!enabled) return 'AppArmor is not enabled on the host';
    if (profile.type === 'Localhost' && !profile.localhostProfile?.trim())
      return `invalid AppArmor profile name: ${JSON.stringify(profile.localhostProfile ?? '')}`;
  }
  return undefined;
}

/** The Engine's `--security-opt`; none: its own default profile. Privileged containers are not confined. */
export function appArmorOption(pod: Pod, container: Container): string[] {
  const profile = appArmorProfileOf(pod, container);
  if (profile?.type === 'Localhost') return [`apparmor=${profile.localhostProfile}`];
  return profile?.type === 'Unconfined' ? ['apparmor=unconfined'] : [];
}
