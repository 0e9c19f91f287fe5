import { CheckpointError, CorruptCheckpointError, parseCheckpointJson } from './checkpoint-file.ts';

/** The policy `none` keeps no state; one that another policy has left is not passed over. @throws CheckpointError */
export function checkNoState(text: string, path: string, policy: 'none' | 'None'): void {
  const { policyName: written } = parseCheckpointJson(text);
  if (typeof written !== 'string') throw new CorruptCheckpointError(`its policyName is ${JSON.stringify(written)}`);
  if (written !== policy) throw otherPolicy(path, policy, written);
}

/** Upstream's words: what must be done is the same there. */
export function otherPolicy(path: string, configured: string, written: string): CheckpointError {
  return new CheckpointError(
    `configured policy ${JSON.stringify(configured)} differs from state checkpoint policy ${JSON.stringify(written)}: please drain this node and delete the checkpoint file ${path} before starting the agent again`,
  );
}
