import { type CpuSet, formatCpuList, parseCpuList, sameCpus } from '../../../src/linux/cpu-list.ts';
import { CheckpointError, CorruptCheckpointError, parseCheckpointJson } from '../checkpoints/checkpoint-file.ts';
import { otherPolicy } from '../checkpoints/checkpoint-policy.ts';
import { fnv32a, printGoMap } from '../checkpoints/go-hash.ts';

export const CPU_STATE_FILE = 'cpu_manager_state';
const POLICY = 'static';

/** Who has which CPUs. */
export interface CpuState {
  /** The shared pool: CPUs that are nobody's alone. */
  defaultCpus: CpuSet;
  /** Pod UID → container → its own CPUs. */
  readonly entries: Map<string, Map<string, CpuSet>>;
}

interface Checkpoint {
  policyName: string;
  defaultCpuSet: string;
  entries?: Record<string, Record<string, string>>;
}

/** The file as the kubelet writes it (version 2 of its format). */
export function renderCpuState(state: CpuState): string {
  const entries = Object.fromEntries(
    [...state.entries].map(([uid, containers]) => [
      uid,
      Object.fromEntries([...containers].map(([name, cpus]) => [name, formatCpuList(cpus)])),
    ]),
  );
  const checkpoint: Checkpoint = {
    policyName: POLICY,
    defaultCpuSet: formatCpuList(state.defaultCpus),
    ...(state.entries.size > 0 && { entries }),
  };
  return JSON.stringify({ ...checkpoint, checksum: checksumOf(checkpoint) });
}

/**
 * Reads the file. A checksum of 0 is not looked at: a file written by hand.
 * @throws CorruptCheckpointError; CheckpointError when another policy has written it.
 */
export function parseCpuState(text: string, path: string): CpuState {
  const raw = parseCheckpointJson(text);
  const checkpoint: Checkpoint = {
    policyName: textField(raw, 'policyName'),
    // Go takes either spelling, and older kubelets wrote the other one.
    defaultCpuSet: textField(raw, 'defaultCpuSet' in raw ? 'defaultCpuSet' : 'defaultCPUSet'),
    entries: entriesOf(raw.entries),
  };
  const expected = checksumOf(checkpoint);
  const { checksum } = raw;
  if (typeof checksum !== 'number' || (checksum !== 0 && checksum !== expected))
    throw new CorruptCheckpointError(`its checksum is ${JSON.stringify(checksum)}, its content has ${expected}`);
  if (checkpoint.policyName !== POLICY) throw otherPolicy(path, POLICY, checkpoint.policyName);
  return {
    defaultCpus: cpusOf(checkpoint.defaultCpuSet, 'the default CPU set'),
    entries: new Map(
      Object.entries(checkpoint.entries ?? {}).map(([uid, containers]) => [
        uid,
        new Map(
          Object.entries(containers).map(([name, cpus]) => [name, cpusOf(cpus, `container ${name} of pod ${uid}`)]),
        ),
      ]),
    ),
  };
}

/**
 * Whether the agent can go on from this state on this machine, with these CPUs in pods' reach.
 * @throws CheckpointError as upstream's, with the way out.
 */
export function checkCpuState(
  state: CpuState,
  { reach, reserved, strict }: { reach: CpuSet; reserved: CpuSet; strict: boolean },
  path: string,
): void {
  const refuse = (why: string): never => {
    throw new CheckpointError(
      `${path} does not fit this node: ${why}. Please drain the node and delete that file before starting the agent again`,
    );
  };
  const { defaultCpus } = state;
  const assigned = [...state.entries].flatMap(([uid, containers]) =>
    [...containers].map(([name, cpus]) => ({ uid, name, cpus })),
  );
  if (defaultCpus.size === 0 && assigned.length > 0 && !strict) refuse('its default CPU set is empty');
  const shared = formatCpuList(defaultCpus);
  const common = reserved.intersection(defaultCpus);
  if (strict && common.size > 0)
    refuse(`some of the strictly reserved CPUs "${formatCpuList(common)}" are in its default CPU set "${shared}"`);
  if (!strict && !sameCpus(common, reserved))
    refuse(`not all reserved CPUs "${formatCpuList(reserved)}" are in its default CPU set "${shared}"`);
  let known: CpuSet = defaultCpus;
  for (const { uid, name, cpus } of assigned) {
    if (!cpus.isDisjointFrom(defaultCpus))
      refuse(
        `CPUs "${formatCpuList(cpus)}" of container ${name} of pod ${uid} overlap with its default CPU set "${shared}"`,
      );
    known = known.union(cpus);
  }
  if (!sameCpus(known, reach))
    refuse(`the node has the CPUs "${formatCpuList(reach)}", the file knows "${formatCpuList(known)}"`);
}

function checksumOf({ policyName, defaultCpuSet, entries }: Checkpoint): number {
  const printed = printGoMap(
    Object.entries(entries ?? {}).map(([uid, containers]) => [uid, printGoMap(Object.entries(containers))]),
  );
  return fnv32a(
    `(*state.CPUManagerCheckpoint){PolicyName:(string)${policyName} DefaultCPUSet:(string)${defaultCpuSet} Entries:(map[string]map[string]string)${printed} Checksum:(checksum.Checksum)0}`,
  );
}

function textField(raw: Record<string, unknown>, name: string): string {
  const value = raw[name];
  if (typeof value !== 'string') throw new CorruptCheckpointError(`its ${name} is ${JSON.stringify(value)}`);
  return value;
}

function entriesOf(raw: unknown): Record<string, Record<string, string>> {
  const entries = (raw ?? {}) as Record<string, Record<string, string>>;
  for (const containers of Object.values(entries))
    if (typeof containers !== 'object' || Object.values(containers).some((cpus) => typeof cpus !== 'string'))
      throw new CorruptCheckpointError('its entries are not CPUs by container by pod');
  return entries;
}

function cpusOf(text: string, whose: string): CpuSet {
  try {
    return parseCpuList(text);
  } catch (error) {
    throw new CorruptCheckpointError(`CPUs of ${whose}: ${(error as Error).message}`, { cause: error });
  }
}
