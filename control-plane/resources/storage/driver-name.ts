import { type FieldError, invalid, required } from '../../apiserver/field-error.ts';
import { subdomainName } from '../../apiserver/names.ts';

const LONGEST_NAME = 63;

/** Name of a CSI driver: a subdomain (capitals are judged as small letters) of at most 63 characters. */
export function validateDriverName(name: string | undefined, field: string): FieldError[] {
  if (!name) return [required(field)];
  const errors = subdomainName(name.toLowerCase()).map((problem) => invalid(field, name, problem));
  if (name.length > LONGEST_NAME)
    errors.unshift({ type: 'FieldValueTooLong', field, detail: `may not be more than ${LONGEST_NAME} bytes` });
  return errors;
}
