import type { KubeClient } from '../../src/kube/client.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import type { Resource } from '../../src/kube/resources.ts';
import type { LabelMatcher } from '../../src/kube/selectors.ts';
import type { KubeObject, OwnerReference } from '../../src/kube/types.ts';

/** The owner that controls an object; at most one does. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((reference) => reference.controller);
}

/** Whether that very owner, not one of its name, controls the object. */
export function isControlledBy(object: KubeObject, owner: KubeObject): boolean {
  return controllerOf(object)?.uid === owner.metadata.uid;
}

/** The reference that a controller puts on what it makes. */
export function controllerReference(owner: KubeObject): OwnerReference {
  return {
    apiVersion: owner.apiVersion!,
    kind: owner.kind!,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
  };
}

export interface Claims<T> {
  /** Controlled by the owner and selected by it. */
  owned: T[];
  /** Selected, without a controller: to be adopted. */
  adopt: T[];
  /** Controlled, but no longer selected: to be let go. */
  release: T[];
}

/** Sorts candidates of the owner's namespace by whose they are; upstream's rules of adoption and release. */
export function computeClaims<T extends KubeObject>(
  owner: KubeObject,
  selector: LabelMatcher,
  candidates: T[],
): Claims<T> {
  const claims: Claims<T> = { owned: [], adopt: [], release: [] };
  for (const object of candidates) {
    const controller = controllerOf(object);
    const isSelected = selector.matches(object.metadata.labels);
    if (controller) {
      if (controller.uid !== owner.metadata.uid) continue;
      if (isSelected) claims.owned.push(object);
      else if (!owner.metadata.deletionTimestamp) claims.release.push(object);
    } else if (isSelected && !owner.metadata.deletionTimestamp && !object.metadata.deletionTimestamp)
      claims.adopt.push(object);
  }
  return claims;
}

/**
 * Carries adoptions and releases out and returns what the owner has now. The owner is read live before an adoption:
 * one that is being deleted (or was replaced by a namesake) must not collect new children.
 */
export async function applyClaims<O extends KubeObject, T extends KubeObject>(
  client: KubeClient,
  owner: { resource: Resource<O>; object: O },
  resource: Resource<T>,
  claims: Claims<T>,
): Promise<{ owned: T[]; changed: T[] }> {
  const owned = [...claims.owned];
  const changed: T[] = [];
  if (claims.adopt.length > 0 && (await isAlive(client, owner.resource, owner.object))) {
    for (const object of claims.adopt) {
      const references = [...(object.metadata.ownerReferences ?? []), controllerReference(owner.object)];
      const adopted = await writeReferences(client, resource, object, references);
      if (!adopted) continue;
      owned.push(adopted);
      changed.push(adopted);
    }
  }
  for (const object of claims.release) {
    const references = (object.metadata.ownerReferences ?? []).filter(({ uid }) => uid !== owner.object.metadata.uid);
    const released = await writeReferences(client, resource, object, references);
    if (released) changed.push(released);
  }
  return { owned, changed };
}

async function isAlive<O extends KubeObject>(client: KubeClient, resource: Resource<O>, owner: O): Promise<boolean> {
  const { namespace, name, uid } = owner.metadata;
  try {
    const live = await client.get(resource, { namespace, name });
    return live.metadata.uid === uid && !live.metadata.deletionTimestamp;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** Sets ownerReferences if the object is still the one that was seen; undefined when it is gone. */
export async function writeReferences<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  object: T,
  references: OwnerReference[],
): Promise<T | undefined> {
  const { namespace, name, uid, resourceVersion } = object.metadata;
  const patch = { metadata: { uid, resourceVersion, ownerReferences: references } };
  try {
    return await client.patch(resource, { namespace, name, type: 'merge', patch });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
