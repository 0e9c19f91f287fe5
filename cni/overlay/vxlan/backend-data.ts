/**
 * What a node says of its VXLAN device in flannel's `backend-data` annotations: `{"VNI":1,"VtepMAC":"3a:…"}`. Written by flanneld or by
 * Berth on another machine, so nothing in it is believed unseen.
 */
export interface VxlanBackendData {
  VNI: number;
  VtepMAC: string;
}

const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;

/** The MAC in the device's own spelling, or why there is none. Pure. */
export function readVtepMac(data: unknown, vni: number): { mac: string } | { reason: string } {
  const { VNI, VtepMAC } = (typeof data === 'object' && data !== null ? data : {}) as Partial<VxlanBackendData>;
  if (VtepMAC === undefined) return { reason: 'its backend-data annotation has no VtepMAC' };
  if (!isUnicastMac(VtepMAC))
    return { reason: `its VtepMAC ${JSON.stringify(VtepMAC)} is no MAC address of a single device` };
  // flanneld writes the lower 16 bits of its VNI.
  if (VNI !== undefined && VNI !== vni && VNI !== (vni & 0xffff))
    return { reason: `its VNI is ${JSON.stringify(VNI)}, ours ${vni}: one of the two nodes has another net-conf.json` };
  return { mac: VtepMAC.toLowerCase() };
}

/** No broadcast or multicast, and not all zeros, which is the forwarding table's default entry. */
function isUnicastMac(text: unknown): text is string {
  if (typeof text !== 'string' || !MAC.test(text)) return false;
  return (Number.parseInt(text.slice(0, 2), 16) & 1) === 0 && /[1-9a-f]/i.test(text);
}
