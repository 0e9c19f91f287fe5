/** Where list elements stand after a strategic merge: what the patch names in its order, the others around them. */

/** What identifies a list element: the value of its merge key, or a scalar itself. */
export type Identify = (element: unknown) => unknown;

/**
 * Orders a merged list: elements that `patchOrder` names come in that order, the others in that of `serverOrder`, and the two
 * rows are merged so that an other element keeps its place before a named one when it stood before it on the server.
 */
export function orderElements(
  merged: readonly unknown[],
  patchOrder: readonly unknown[],
  serverOrder: readonly unknown[],
  identify: Identify,
): unknown[] {
  const patchPlaces = placesOf(patchOrder, identify);
  const serverPlaces = placesOf(serverOrder, identify);
  const named = merged.filter((element) => patchPlaces.has(identify(element)));
  const others = merged.filter((element) => !patchPlaces.has(identify(element)));
  const byPlace = (places: ReadonlyMap<unknown, number>) => (left: unknown, right: unknown) =>
    (places.get(identify(left)) ?? -1) - (places.get(identify(right)) ?? -1);
  named.sort(byPlace(patchPlaces));
  others.sort(byPlace(serverPlaces));

  const ordered: unknown[] = [];
  let next = 0;
  for (const element of named) {
    const place = serverPlaces.get(identify(element));
    while (
      next < others.length &&
      place !== undefined &&
      (serverPlaces.get(identify(others[next])) ?? Infinity) < place
    ) {
      ordered.push(others[next++]);
    }
    ordered.push(element);
  }
  return [...ordered, ...others.slice(next)];
}

function placesOf(list: readonly unknown[], identify: Identify): Map<unknown, number> {
  const places = new Map<unknown, number>();
  for (const [place, element] of list.entries()) {
    const identity = identify(element);
    if (!places.has(identity)) places.set(identity, place);
  }
  return places;
}
