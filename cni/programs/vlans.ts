import { LAST_VLAN_ID } from '../../src/linux/netlink/bridges.ts';
import type { VlanConfig } from '../plugins/port-vlans.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { type Fields, readFields } from '../wire/fields.ts';

/**
 * The bridge plugin's `vlan`, `vlanTrunk` and `preserveDefaultVlan`; undefined when neither names a VLAN.
 * @throws CniError 7 naming the entry that is wrong.
 */
export function parseVlans(fields: Fields): VlanConfig | undefined {
  const access = fields.count('vlan');
  if (access > LAST_VLAN_ID) throw invalid(`invalid VLAN ID ${access} (must be between 0 and ${LAST_VLAN_ID})`, 'vlan');
  const trunk = mergeRanges(fields.list('vlanTrunk').flatMap(rangesOf));
  if (access === 0 && trunk.length === 0) return undefined;
  return { access: access || undefined, trunk, preserveDefault: fields.flag('preserveDefaultVlan') };
}

interface Range {
  first: number;
  last: number;
}

/** `{id}`, `{minID, maxID}`, or both in one. */
function rangesOf(entry: unknown): Range[] {
  if (typeof entry !== 'object' || entry === null)
    throw invalid(
      `vlanTrunk: ${JSON.stringify(entry)} is no object`,
      'an entry is {"id": 7} or {"minID": 1, "maxID": 9}',
    );
  const where = JSON.stringify(entry);
  const fields = readFields(entry as Record<string, unknown>);
  const read = (key: string): number | undefined => {
    if (fields.raw[key] === undefined || fields.raw[key] === null) return undefined;
    const value = fields.count(key);
    if (value < 1 || value > LAST_VLAN_ID) throw invalid(`incorrect trunk ${key} parameter`, `vlanTrunk: ${where}`);
    return value;
  };
  const [id, first, last] = [read('id'), read('minID'), read('maxID')];
  if ((first === undefined) !== (last === undefined))
    throw invalid(
      `minID and maxID should be configured simultaneously, ${first === undefined ? 'minID' : 'maxID'} is missing`,
      `vlanTrunk: ${where}`,
    );
  if (first !== undefined && first > last!)
    throw invalid('minID is greater than maxID in trunk parameter', `vlanTrunk: ${where}`);
  return [
    ...(first === undefined ? [] : [{ first, last: last! }]),
    ...(id === undefined ? [] : [{ first: id, last: id }]),
  ];
}

/** Ascending, without overlaps and gaps of nothing. */
function mergeRanges(ranges: readonly Range[]): Range[] {
  const merged: Range[] = [];
  for (const range of ranges.toSorted((one, other) => one.first - other.first)) {
    const before = merged.at(-1);
    if (before && range.first <= before.last + 1) before.last = Math.max(before.last, range.last);
    else merged.push({ ...range });
  }
  return merged;
}

const invalid = (message: string, details: string) =>
  new CniError(CNI_ERROR.invalidNetworkConfig, message, { details });
