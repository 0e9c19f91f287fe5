/** Notifications of memory and the hold of a pod that goes, on this kernel's own cgroups. */
import test from 'ava';
import { tellOfGuard, tellOfHold, tellOfNotifications } from '../../support/memory-guard-story.ts';

test.serial('low memory is told before half of the threshold is gone', tellOfGuard);
test.serial('the kernel tells by itself', tellOfNotifications);
test.serial('a cgroup that is held takes no more', tellOfHold);
