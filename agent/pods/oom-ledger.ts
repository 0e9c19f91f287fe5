/** Ends that the kernel's out-of-memory killer has made in one pod. */
interface Account {
  /** How many there were before this agent looked. */
  before: number;
  /** Containers whose end is explained by one of them. */
  explained: Set<string>;
}

/** Which containers ended for want of memory, by the kernel's own count: the Engine may hear of that late, or never. */
export interface OomLedger {
  /** The pod is seen for the first time, or again; `createdAtMs` of one of its containers. */
  meet(uid: string, createdAtMs: number): Promise<void>;
  /** Whether this killed container is one of those. undefined: nobody has counted. `isKnown`: the Engine says so itself. */
  isCause(uid: string, containerId: string, isKnown: boolean): Promise<boolean | undefined>;
  forget(uid: string): void;
}

/**
 * @param groupKills How often the kernel has ended a whole container of the pod since its cgroup was made; undefined where that is not
 *   counted. One count explains one container, so that a second one, which somebody else has killed, is not taken for another.
 */
export function createOomLedger(
  groupKills: (uid: string) => Promise<number | undefined>,
  startedAtMs: number,
): OomLedger {
  // Promises: containers of a pod are looked at together, and none may be explained before it is known what was there before.
  const accounts = new Map<string, Promise<Account>>();

  async function open(uid: string, createdAtMs: number): Promise<Account> {
    // A pod of an earlier life of the agent: what was counted then has been told then.
    const before = createdAtMs < startedAtMs ? ((await groupKills(uid)) ?? 0) : 0;
    return { before, explained: new Set() };
  }

  return {
    async meet(uid, createdAtMs) {
      const account = accounts.get(uid) ?? open(uid, createdAtMs);
      accounts.set(uid, account);
      await account;
    },
    async isCause(uid, containerId, isKnown) {
      const account = await accounts.get(uid);
      const kills = await groupKills(uid);
      if (!account || kills === undefined) return undefined;
      const isLeft = kills - account.before > account.explained.size;
      if (isKnown || isLeft) account.explained.add(containerId);
      return account.explained.has(containerId);
    },
    forget: (uid) => void accounts.delete(uid),
  };
}
