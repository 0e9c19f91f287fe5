import { header, sample } from '../exposition.ts';
import type { CadvisorEntry } from './entries.ts';
import { CONTAINER_FAMILIES, type FamilyContext } from './families.ts';

const ERROR = 'container_scrape_error';
const ERROR_HELP = '1 if there was an error while getting container metrics, 0 otherwise';

/**
 * The text of /metrics/cadvisor but for the machine, a family at a time, so that whoever writes it out can let others have the event loop in
 * between. Without times: what is told was read for this scrape, and Prometheus notices at once when a container is gone.
 * @param entries undefined when they could not be read.
 */
export function* renderContainers(
  entries: readonly CadvisorEntry[] | undefined,
  context: FamilyContext,
): Generator<string> {
  for (const { name, type, help, write } of CONTAINER_FAMILIES) {
    let text = '';
    for (const entry of entries ?? []) {
      const emit = (value: number | undefined, extra = '') => {
        if (value !== undefined) text += `${name}{${entry.labels}${extra}} ${value}\n`;
      };
      write(entry, emit, context);
    }
    if (text !== '') yield header(name, type, help) + text;
  }
  yield header(ERROR, 'gauge', ERROR_HELP) + sample(ERROR, '', entries ? 0 : 1);
}
