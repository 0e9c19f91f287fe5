/**
 * A whole agent in a process of its own, to be killed: `node agent-child.ts <engine endpoint> <directory>`. It tells its parent what it
 * sees of its pods. Its network's book is a file, so that the next one finds what this one had attached.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectDocker } from '../../src/docker/connect.ts';
import { createFakePodNetwork, type FakePodNetwork } from '../fakes/pod-network.ts';
import { createTestAgent } from './agent.ts';

type Attachments = FakePodNetwork['attachments'];
type Attachment = Attachments extends Map<string, infer T> ? T : never;

/** What the child sends, again and again: the phase of each pod, and the restarts of its containers. */
export type AgentChildReport = Record<string, { phase: string | undefined; restarts: Record<string, number> }>;

/** A map that is on disk before `set` and `delete` return. */
class FileMap extends Map<string, Attachment> {
  readonly #path: string;

  constructor(path: string) {
    super();
    this.#path = path;
    try {
      for (const [id, one] of JSON.parse(readFileSync(path, 'utf8'))) super.set(id, one);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  override set(id: string, one: Attachment): this {
    super.set(id, one);
    return this.#save();
  }

  override delete(id: string): boolean {
    const was = super.delete(id);
    this.#save();
    return was;
  }

  #save(): this {
    writeFileSync(`${this.#path}.new`, JSON.stringify([...this]));
    renameSync(`${this.#path}.new`, this.#path);
    return this;
  }
}

const [endpoint = '', base = ''] = process.argv.slice(2);
const node = await createTestAgent({
  docker: connectDocker(endpoint),
  network: createFakePodNetwork(new FileMap(join(base, 'network.json'))),
  base,
  options: { relistMs: 2_000, fileCheckMs: 1_000 },
});
node.start();
let last = '';
setInterval(() => {
  const report: AgentChildReport = {};
  for (const { metadata, status } of node.agent.directory.list()) {
    const restarts = (status?.containerStatuses ?? []).map(({ name, restartCount }) => [name, restartCount] as const);
    report[metadata.name] = { phase: status?.phase, restarts: Object.fromEntries(restarts) };
  }
  const text = JSON.stringify(report);
  if (text !== last) process.send?.(report);
  last = text;
}, 20);
process.on('disconnect', () => process.exit());
