/** What people should know of how this node started: once in the log and among the node's events. */
export function startWarnings(host: {
  cgroupVersion: 1 | 2;
  canLowerOomScore: boolean;
}): { reason: string; message: string }[] {
  const warnings: { reason: string; message: string }[] = [];
  if (host.cgroupVersion === 1)
    warnings.push({
      reason: 'CgroupV1',
      message: 'cgroup v1 support is in maintenance mode, please migrate to cgroup v2',
    });
  if (!host.canLowerOomScore)
    warnings.push({
      reason: 'BerthOomScoreClamped',
      message:
        'CAP_SYS_RESOURCE is missing: oom_score_adj of containers is not lowered below 0, so Guaranteed pods are not protected from the OOM killer',
    });
  return warnings;
}
