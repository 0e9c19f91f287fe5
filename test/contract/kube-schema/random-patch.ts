type Fields = Record<string, unknown>;

const names = ['a', 'b', 'c', 'd', 'e'];

/** Random pods and strategic merge patches for them, the same for the same seed. */
export function createRandomPatches(seed: number): { next(): { original: Fields; patch: Fields } } {
  let state = seed;
  const random = (): number => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 2147483648;
  };
  const chance = (probability: number): boolean => random() < probability;
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const some = <T>(list: readonly T[]): T[] => list.filter(() => chance(0.5));
  const shuffled = <T>(list: readonly T[]): T[] =>
    list
      .map((item) => ({ item, key: random() }))
      .sort((left, right) => left.key - right.key)
      .map(({ item }) => item);

  /** Adds a directive about `list` to its owner. */
  const direct = (owner: Fields, list: string, toKey: (name: string) => string): void => {
    const elements = (owner[list] as Fields[] | undefined) ?? [];
    const way = below(10);
    if (way < 3) {
      const gone = toKey(pick(names));
      owner[list] = [...elements.filter(({ name }) => name !== gone), { $patch: 'delete', name: gone }];
    } else if (way < 4) owner[list] = [...elements, { $patch: 'replace' }];
    else {
      const own = elements.map(({ name }) => name);
      const order = shuffled([...own, ...some(names.map(toKey)).filter((name) => !own.includes(name))]);
      owner[`$setElementOrder/${list}`] = order.map((name) => ({ name }));
      if (elements.length > 0)
        owner[list] = elements.toSorted((left, right) => order.indexOf(left['name']) - order.indexOf(right['name']));
    }
  };

  const container = (name: string, inPatch: boolean): Fields => {
    const fields: Fields = { name };
    if (chance(0.7)) fields['image'] = inPatch && chance(0.1) ? null : `image:${below(5)}`;
    if (chance(0.4))
      fields['env'] = shuffled(some(names)).map((key) => ({ name: key.toUpperCase(), value: `${below(3)}` }));
    if (chance(0.3))
      fields['ports'] = shuffled(some([80, 81, 82])).map((containerPort) => ({ containerPort, name: `p${below(4)}` }));
    if (chance(0.3)) fields['command'] = some(names);
    if (chance(0.3))
      fields['resources'] = { limits: { cpu: `${1 + below(3)}`, ...(chance(0.5) ? { memory: '1Gi' } : {}) } };
    if (inPatch && chance(0.2)) direct(fields, 'env', (key) => key.toUpperCase());
    if (inPatch && chance(0.1)) fields['resources'] = { $patch: 'replace', requests: { cpu: '9' } };
    return fields;
  };

  const volume = (name: string, inPatch: boolean): Fields => {
    const kind = pick(['emptyDir', 'configMap', 'hostPath']);
    const source = kind === 'configMap' ? { name: 'c' } : kind === 'hostPath' ? { path: '/x' } : {};
    return {
      name,
      [kind]: source,
      ...(inPatch && chance(0.7) ? { $retainKeys: chance(0.9) ? ['name', kind] : ['name'] } : {}),
    };
  };

  const spec = (inPatch: boolean): Fields => {
    const fields: Fields = {};
    const map = () =>
      Object.fromEntries(some(names).map((key) => [key, inPatch && chance(0.3) ? null : `${below(3)}`]));
    if (chance(0.9)) fields['containers'] = shuffled(some(names)).map((name) => container(name, inPatch));
    if (inPatch && fields['containers'] && chance(0.6)) direct(fields, 'containers', (name) => name);
    if (chance(0.5)) fields['volumes'] = some(names).map((name) => volume(name, inPatch));
    if (chance(0.4)) fields['tolerations'] = some(names).map((key) => ({ key }));
    if (chance(0.4))
      fields['nodeSelector'] = { ...map(), ...(inPatch && chance(0.1) ? { $patch: pick(['replace', 'delete']) } : {}) };
    if (chance(0.3)) fields['imagePullSecrets'] = shuffled(some(names)).map((name) => ({ name }));
    return fields;
  };

  const metadata = (inPatch: boolean): Fields => {
    const fields: Fields = inPatch ? {} : { name: 'p' };
    const finalizers = shuffled(names.map((name) => `x/${name}`));
    const own = finalizers.slice(0, 1 + below(2));
    if (chance(0.6)) fields['finalizers'] = own;
    // Never what is added as well: which of the two wins is up to the order of Go's maps.
    if (inPatch && chance(0.3)) fields['$deleteFromPrimitiveList/finalizers'] = some(finalizers.slice(2));
    if (inPatch && chance(0.3))
      fields['$setElementOrder/finalizers'] = shuffled([...new Set([...own, ...some(finalizers)])]);
    return fields;
  };

  return {
    next: () => ({
      original: { apiVersion: 'v1', kind: 'Pod', metadata: metadata(false), spec: spec(false) },
      patch: { metadata: metadata(true), spec: spec(true) },
    }),
  };
}
