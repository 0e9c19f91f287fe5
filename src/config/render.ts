import { formatBytes } from '../kube/quantity.ts';
import { formatGoDuration } from './duration.ts';
import { type ConfigOf, type FieldTree, isField } from './field.ts';

/** A parsed configuration with the field names and value texts of its file again: durations as `1m0s`, bytes as `10Mi`. Pure. */
export function renderConfig<Tree extends FieldTree>(fields: Tree, config: ConfigOf<Tree>): Record<string, unknown> {
  const values = config as Readonly<Record<string, unknown>>;
  const rendered: Record<string, unknown> = {};
  for (const [name, node] of Object.entries(fields)) {
    if (!isField(node)) {
      rendered[name] = renderConfig(node, values[name] as ConfigOf<typeof node>);
      continue;
    }
    const value = values[`${name}${node.suffix}`];
    if (value !== undefined) rendered[name] = renderValue(node.suffix, value);
  }
  return rendered;
}

function renderValue(suffix: string, value: unknown): unknown {
  if (suffix === 'Ms' && typeof value === 'number') return renderDuration(value);
  if (suffix === 'Bytes' && typeof value === 'number') return formatBytes(value);
  return value;
}

/** Configuration knows durations below a millisecond and negative ones, which clocks do not. */
function renderDuration(ms: number): string {
  if (ms < 0) return `-${renderDuration(-ms)}`;
  return Number.isInteger(ms) ? formatGoDuration(ms) : `${ms}ms`;
}
