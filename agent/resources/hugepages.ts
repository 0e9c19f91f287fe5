/** `2097152` → `2MB`, the kernel's name in `hugetlb.2MB.max`. */
export function kernelPageSize(sizeBytes: number): string {
  return `${binarySize(sizeBytes).replace(/i$/, '')}B`;
}

/** `2097152` → `2Mi`, Kubernetes' name in `hugepages-2Mi`. */
export function binarySize(sizeBytes: number): string {
  const units = ['', 'Ki', 'Mi', 'Gi'];
  let size = sizeBytes;
  let unit = 0;
  while (unit < units.length - 1 && size % 1024 === 0) {
    size /= 1024;
    unit++;
  }
  return `${size}${units[unit]}`;
}
