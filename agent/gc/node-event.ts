/** Tells people what happened on the node, as an event of its Node object. Never throws, never blocks. */
export type NodeEvent = (type: 'Normal' | 'Warning', reason: string, message: string) => void;
