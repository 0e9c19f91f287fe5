/**
 * Moves a device of the host's into a container, and back. Its name on the host is kept as its alias, where the reference plugin looks
 * for it too. One namespace holds the device at any instant and the alias says from the first step on where it belongs, so that a killed
 * move is finished or undone by the next call. It gets its new name in the container, where nobody of the host watches it (udev would
 * rename what appears under another name).
 */
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { AttachRequest } from '../types.ts';
import { taken } from './container-link.ts';
import { broken } from './failure.ts';
import type { DeviceSelector } from './host-device-search.ts';

export interface MovePlaces {
  host: Rtnetlink;
  /** Path of the host's namespace. */
  hostNetns: string;
  pod: Rtnetlink;
}

/** The device is up in the container under its new name. @throws what the kernel says; the device is on the host then, as it was. */
export async function moveIntoContainer(device: Link, request: AttachRequest, places: MovePlaces): Promise<void> {
  const { host, pod } = places;
  const { ifname, netns } = request;
  if (await pod.getLink(ifname)) throw taken(request);
  await host.setLink(device.index, { alias: device.name });
  try {
    const name = await landingName(pod, device.name, ifname);
    // The kernel uses a name sent along only where the device's own is taken at the other side.
    await host.setLink(device.index, { netns, ...(name !== device.name && { name }) });
    const link = await pod.getLink(name);
    if (!link) throw broken(`${device.name} disappeared on its way into ${netns}`);
    if (name !== ifname) await pod.setLink(link.index, { name: ifname });
    await pod.setLink(link.index, { up: true });
  } catch (error) {
    await runAll('roll back', [
      async () => {
        const moved = (await pod.listLinks()).find(({ alias }) => alias === device.name);
        if (moved) await moveBack(moved, netns, places);
      },
      () => host.setLink(device.name, { alias: device.alias ?? '', ...(device.up && { up: true }) }),
    ]).catch(() => {});
    throw error;
  }
}

/** Down on the host, under its name of before, without the alias; nothing when the container has no device of the host's under that name. */
export async function moveOutOfContainer(
  { ifname, netns }: Pick<AttachRequest, 'netns' | 'ifname'>,
  selector: DeviceSelector,
  places: MovePlaces,
): Promise<void> {
  const links = await places.pod.listLinks();
  const device =
    links.find((link) => link.name === ifname && isOfHost(link)) ?? links.find((link) => isHalfMoved(link, selector));
  if (device) await moveBack(device, netns, places);
}

async function moveBack(device: Link, netns: string, { host, hostNetns, pod }: MovePlaces): Promise<void> {
  const before = device.alias!;
  if (await host.getLink(before))
    throw broken(`cannot move ${device.name} of ${netns} back: the host has another link ${before} meanwhile`);
  if (device.up) await pod.setLink(device.index, { up: false });
  const isFree = device.name === before || !(await pod.getLink(before));
  if (isFree && device.name !== before) await pod.setLink(device.index, { name: before });
  await pod.setLink(device.index, { netns: hostNetns, ...(!isFree && { name: before }) });
  const back = await host.getLink(before);
  if (!back) throw broken(`${before} disappeared on its way out of ${netns}`);
  await host.setLink(back.index, { alias: '' });
}

/** Under which name it arrives: its own, unless the container has such a link. */
async function landingName(pod: Rtnetlink, own: string, wanted: string): Promise<string> {
  return (await pod.getLink(own)) ? wanted : own;
}

/** What a killed ADD has left: in the container, but not under its new name, nor up. */
function isHalfMoved(link: Link, { device, mac }: DeviceSelector): boolean {
  const isMeant = device === '' ? mac !== '' && link.mac === mac : link.name === device;
  return isMeant && !link.up && link.alias === link.name;
}

/** An alias that can be a link's name; those of our other plugins have colons. */
const isOfHost = ({ alias }: Link) => alias !== undefined && /^[^/:\s]{1,15}$/.test(alias);
