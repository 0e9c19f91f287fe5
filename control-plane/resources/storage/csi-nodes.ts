import type { CSINode, CSINodeDriver } from '../../../src/kube/types.ts';
import type { ResourceDefinition } from '../../apiserver/definition.ts';
import { duplicate, type FieldError, invalid, required } from '../../apiserver/field-error.ts';
import { ageColumn, column, nameColumn } from '../columns.ts';
import { defineResource } from '../define.ts';
import { semanticEqual } from '../equality.ts';
import { validateLabelKey } from '../labels.ts';
import { validateDriverName } from './driver-name.ts';

const LONGEST_NODE_ID = 256;

export const csiNodes: ResourceDefinition<CSINode> = defineResource<CSINode>({
  group: 'storage.k8s.io',
  kind: 'CSINode',
  plural: 'csinodes',
  namespaced: false,
  columns: [
    nameColumn,
    column('Drivers', 'integer', 'How many drivers run on the node.', ({ spec }) => spec.drivers.length),
    ageColumn,
  ],
  applyDefaults(node) {
    node.spec ??= { drivers: [] };
    node.spec.drivers ??= [];
  },
  validate({ spec }) {
    const seen = new Set<string>();
    return spec.drivers.flatMap((driver, index) => {
      const at = `spec.drivers[${index}]`;
      const errors = validateDriver(driver, at);
      if (seen.has(driver.name)) errors.push(duplicate(`${at}.name`, driver.name));
      seen.add(driver.name);
      return errors;
    });
  },
  validateUpdate: (node, old) =>
    node.spec.drivers.flatMap((driver) => {
      const before = old.spec.drivers.find(({ name }) => name === driver.name);
      // How much fits may be learnt later; who the node is to the driver may not change under its volumes.
      const same =
        before && semanticEqual({ ...driver, allocatable: undefined }, { ...before, allocatable: undefined });
      return before && !same ? [invalid('spec.drivers', driver, 'field is immutable')] : [];
    }),
});

function validateDriver(driver: CSINodeDriver, field: string): FieldError[] {
  const errors = validateDriverName(driver.name, `${field}.name`);
  if (!driver.nodeID) errors.push(required(`${field}.nodeID`));
  else if (driver.nodeID.length > LONGEST_NODE_ID)
    errors.push(invalid(`${field}.nodeID`, driver.nodeID, `must be ${LONGEST_NODE_ID} characters or less`));
  const count = driver.allocatable?.count;
  if (typeof count === 'number' && count < 0)
    errors.push(invalid(`${field}.allocatable.count`, count, 'must be greater than or equal to 0'));
  const keys = driver.topologyKeys ?? [];
  keys.forEach((key, index) => {
    if (!key) errors.push(required(`${field}.topologyKeys[${index}]`));
    else errors.push(...validateLabelKey(key, `${field}.topologyKeys[${index}]`));
    if (keys.indexOf(key) < index) errors.push(duplicate(`${field}.topologyKeys[${index}]`, key));
  });
  return errors;
}
