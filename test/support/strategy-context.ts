import type { UserInfo } from '../../control-plane/apiserver/authorization.ts';
import type { ObjectReader, ResourceName, StrategyContext } from '../../control-plane/apiserver/definition.ts';
import { describeFieldErrors, type FieldError } from '../../control-plane/apiserver/field-error.ts';
import type { KubeObject } from '../../src/kube/types.ts';

export const NOW_MS = Date.parse('2026-01-02T03:04:05Z');
export const ADMIN: UserInfo = { username: 'admin', groups: ['system:masters', 'system:authenticated'] };
export const nodeUser = (name: string): UserInfo => ({
  username: `system:node:${name}`,
  groups: ['system:nodes', 'system:authenticated'],
});

/** Stored objects by plural. */
export type StoredObjects = Readonly<Record<string, readonly KubeObject[]>>;

export function objectReader(stored: StoredObjects = {}): ObjectReader {
  const all = <T>({ plural }: ResourceName) => (stored[plural] ?? []) as unknown as (T & KubeObject)[];
  return {
    async get<T extends KubeObject>(resource: ResourceName, namespace: string, name: string) {
      return all<T>(resource).find(
        (object) => object.metadata.name === name && (object.metadata.namespace ?? '') === namespace,
      );
    },
    async list<T extends KubeObject>(resource: ResourceName, namespace?: string) {
      return all<T>(resource).filter((object) => namespace === undefined || object.metadata.namespace === namespace);
    },
  };
}

export interface TestContext extends StrategyContext {
  readonly warnings: string[];
}

export function strategyContext(user: UserInfo = ADMIN, stored: StoredObjects = {}): TestContext {
  const warnings: string[] = [];
  return { user, nowMs: NOW_MS, objects: objectReader(stored), warn: (text) => warnings.push(text), warnings };
}

/** Each error on its own: `spec.containers: Required value`. */
export const errorTexts = (errors: readonly FieldError[]) => errors.map((error) => describeFieldErrors([error]));

/** metadata as a client sends it: the server's part is missing. */
export const meta = (name: string, rest: Partial<KubeObject['metadata']> = {}): KubeObject['metadata'] =>
  ({ name, namespace: 'default', ...rest }) as KubeObject['metadata'];
