import module from 'node:module';

/**
 * What launchers start that an older `berth cni install` made: `node berth-cni.mjs TYPE`. The plugins have programs of their own by now,
 * beside this one; the next `install` makes launchers for those.
 */
const type = process.argv[2] ?? '';
if (/^[a-z-]+$/.test(type)) module.createRequire(import.meta.url)(`./cni/${type}.cjs`);
else {
  process.stderr.write(`berth-cni: there is no plugin ${JSON.stringify(type)}\n`);
  process.exit(1);
}
