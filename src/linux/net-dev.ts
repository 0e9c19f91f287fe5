/** Counters of one network interface, since it was made. */
export interface InterfaceCounters {
  name: string;
  rxBytes: number;
  rxPackets: number;
  rxErrors: number;
  rxDropped: number;
  txBytes: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
}

/** `/proc/<pid>/net/dev`: two lines of head, then `name: bytes packets errs drop fifo frame compressed multicast | …`. Pure. */
export function parseNetDev(text: string): InterfaceCounters[] {
  const interfaces: InterfaceCounters[] = [];
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const [rxBytes, rxPackets, rxErrors, rxDropped, , , , , txBytes, txPackets, txErrors, txDropped] = line
      .slice(colon + 1)
      .trim()
      .split(/ +/)
      .map(Number);
    if (txDropped === undefined) continue;
    interfaces.push({
      name: line.slice(0, colon).trim(),
      rxBytes: rxBytes!,
      rxPackets: rxPackets!,
      rxErrors: rxErrors!,
      rxDropped: rxDropped!,
      txBytes: txBytes!,
      txPackets: txPackets!,
      txErrors: txErrors!,
      txDropped,
    });
  }
  return interfaces;
}
