import { bytes, readAttributes, readU16, text } from './attributes.ts';
import { isNetlinkError, type NetlinkSocket } from './socket.ts';

export const NETLINK_GENERIC = 16;

/** Numbers of linux/genetlink.h. */
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

/** struct genlmsghdr: command and version of the family's own protocol. */
export function genericHeader(command: number, version = 1): Buffer {
  return Buffer.from([command, version, 0, 0]);
}

/** The attributes of a generic netlink message begin behind its header. */
export const GENERIC_HEADER_BYTES = 4;

/**
 * The message type of a generic netlink family, which the kernel hands out anew at each boot. The kernel loads the module that has
 * the family by itself, where there is one.
 * @returns undefined when the kernel has no such family
 */
export async function findGenericFamily(socket: NetlinkSocket, name: string): Promise<number | undefined> {
  try {
    const [body] = await socket.request({
      operation: `find generic netlink family ${name}`,
      type: GENL_ID_CTRL,
      body: [genericHeader(CTRL_CMD_GETFAMILY), ...text(CTRL_ATTR_FAMILY_NAME, name)],
    });
    const id = body && readAttributes(body, GENERIC_HEADER_BYTES).get(CTRL_ATTR_FAMILY_ID);
    return id && readU16(id);
  } catch (error) {
    if (isNetlinkError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** A number of two bytes in network order, as ports are. */
export function port(type: number, value: number): Uint8Array[] {
  return bytes(type, Buffer.from([value >> 8, value & 0xff]));
}
