import { NETNS_VARIABLE } from '../../agent/sandbox/pod-runtime.ts';

/** Under this name dockerd knows the runtime; the agent uses it wherever the Engine has it. */
export const POD_RUNTIME_NAME = 'berth';

/**
 * The OCI runtime for pods' containers: a shell script before runc that edits three places of the bundle's config.json on the way to `create`
 * and passes everything else through. A shell and one sed take 5 ms, a Node.js process would take 40. config.json is one line of compact JSON;
 * inside a JSON string every quote has a backslash before it, so that no value which somebody chose can look like these.
 *
 * - A pause container (told by its variable) needs nothing of the Engine's own network set-up: the hook, which Engines before 28 run as another
 *   dockerd process per start, goes.
 * - It joins the network namespace of that variable.
 * - A container in the network of another's process shares that one's UTS namespace too.
 *
 * An edit that does not fit (another Engine's text) changes nothing: the container then starts as it would without this script.
 * @param program The runtime that does the work: a name in dockerd's PATH, or a path.
 */
export function renderPodRuntimeScript(program = 'runc'): string {
  return `#!/bin/sh
# Berth's OCI runtime for pods' containers, in front of ${program}. Made by 'berth engine-runtime'; docs/adr/0019 explains it.
creating= bundle= previous=
for argument; do
  case $previous in
    create) creating=1 ;;
    --bundle) bundle=$argument ;;
  esac
  previous=$argument
done
if [ "$creating" ] && [ "$bundle" ]; then
  sed -i -e '/[[,]"${NETNS_VARIABLE}=/{
s|"hooks":{"prestart":\\[{"path":"[^"]*","args":\\["libnetwork-setkey"[^]]*\\]}\\]},||
s|\\([[,]"${NETNS_VARIABLE}=\\(/proc/[0-9]*/fd/[0-9]*\\)".*\\){"type":"network"}|\\1{"type":"network","path":"\\2"}|
}
s|\\({"type":"network","path":"\\(/proc/[0-9]*/ns/\\)net"}.*\\){"type":"uts"}|\\1{"type":"uts","path":"\\2uts"}|' "$bundle/config.json"
fi
exec ${program} "$@"
`;
}
