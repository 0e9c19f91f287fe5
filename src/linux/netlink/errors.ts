/** The kernel said no. `code` is the errno's name (`EEXIST`, `ENODEV`, …), as in Node's own errors. */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError';
  readonly code: string;
  readonly operation: string;

  constructor(operation: string, code: string) {
    super(`netlink: ${operation}: ${code}`);
    this.operation = operation;
    this.code = code;
  }
}

/** Whether the error is a NetlinkError with one of these errno names. */
export function isNetlinkError(error: unknown, ...codes: string[]): error is NetlinkError {
  return error instanceof NetlinkError && codes.includes(error.code);
}
