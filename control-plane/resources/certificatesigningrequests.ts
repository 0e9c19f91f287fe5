import { parseCertificateRequest } from '../../src/auth/certificate-request.ts';
import type {
  CertificateSigningRequest,
  CertificateSigningRequestCondition,
} from '../../src/kube/schema/generated/types/certificates-v1.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import type { UserInfo } from '../apiserver/authorization.ts';
import type { ResourceDefinition, StrategyContext } from '../apiserver/definition.ts';
import { duplicate, type FieldError, forbidden, invalid, notSupported, required } from '../apiserver/field-error.ts';
import { forbidden as refuse } from '../apiserver/status-error.ts';
import { CLIENT_SIGNER } from '../certificates/signers.ts';
import { ageColumn, column, nameColumn, shortDuration } from './columns.ts';
import { defineResource } from './define.ts';

export interface CertificateRequestPolicy {
  /** Whether the user may `approve` or `sign` for a signer: asked of the authorizer as the resource `signers`. */
  mayUseSigner(user: UserInfo, verb: 'approve' | 'sign', signerName: string): Promise<boolean>;
}

type Request = CertificateSigningRequest;

const NAMES = { group: 'certificates.k8s.io', plural: 'certificatesigningrequests', kind: 'CertificateSigningRequest' };
const LEAST_SECONDS = 600;
const USAGES = [
  'any',
  'cert sign',
  'client auth',
  'code signing',
  'content commitment',
  'crl sign',
  'data encipherment',
  'decipher only',
  'digital signature',
  'email protection',
  'encipher only',
  'ipsec end system',
  'ipsec tunnel',
  'ipsec user',
  'key agreement',
  'key encipherment',
  'microsoft sgc',
  'netscape sgc',
  'ocsp signing',
  's/mime',
  'server auth',
  'signing',
  'timestamping',
];
const DECISIONS = ['Approved', 'Denied'];

/**
 * CertificateSigningRequests: who asks is written by the server, what is asked never changes, /approval decides and /status issues, each for those
 * who may use the signer (upstream's admission plugins CertificateApproval, CertificateSigning and CertificateSubjectRestriction).
 */
export function defineCertificateSigningRequests(policy: CertificateRequestPolicy): ResourceDefinition<Request> {
  async function checkSigner(object: Request, { user }: StrategyContext, verb: 'approve' | 'sign'): Promise<void> {
    const { signerName } = object.spec;
    if (!(await policy.mayUseSigner(user, verb, signerName)))
      throw refuse(
        NAMES,
        object.metadata.name ?? '',
        `user not permitted to ${verb} requests with signerName ${JSON.stringify(signerName)}`,
      );
  }

  return defineResource<Request>({
    ...NAMES,
    shortNames: ['csr'],
    namespaced: false,
    columns: [
      nameColumn,
      ageColumn,
      column('SignerName', 'string', 'Who is to sign.', ({ spec }) => spec.signerName),
      column('Requestor', 'string', 'Who asks.', ({ spec }) => spec.username ?? ''),
      column('RequestedDuration', 'string', 'How long it is to last.', ({ spec }) =>
        spec.expirationSeconds === undefined ? '<none>' : shortDuration(spec.expirationSeconds * 1000),
      ),
      column('Condition', 'string', 'What became of it.', describeState),
    ],
    async prepareForCreate(object, { user }) {
      delete object.status;
      object.spec = { ...object.spec, username: user.username, groups: [...user.groups] };
      delete object.spec.uid;
      delete object.spec.extra;
      if (user.uid) object.spec.uid = user.uid;
      if (user.extra)
        object.spec.extra = Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]]));
      await refusePowerfulSubject(object);
    },
    prepareForUpdate(object, old) {
      object.spec = structuredClone(old.spec);
      if (old.status) object.status = structuredClone(old.status);
      else delete object.status;
    },
    validate: validateRequest,
    selectableFields: { 'spec.signerName': ({ spec }) => spec.signerName },
    allowUnconditionalUpdate: false,
    hasStatus: true,
    status: {
      async prepareForUpdate(object, old, context) {
        // What was decided is decided: issuing does not reopen it.
        const decided = conditionsOf(old).filter(({ type }) => DECISIONS.includes(type));
        const others = conditionsOf(object).filter(({ type }) => !DECISIONS.includes(type));
        object.status = { ...object.status, conditions: stamp([...decided, ...others], old, context) };
        const issues = object.status.certificate !== old.status?.certificate;
        const fails = others.some(({ type }) => type === 'Failed') && !conditionsOf(old).some(isFailure);
        if (issues || fails) await checkSigner(object, context, 'sign');
      },
      validateUpdate: validateIssued,
    },
    subresources: {
      approval: {
        style: 'object',
        verbs: ['get', 'update', 'patch'],
        async prepareForUpdate(object, old, context) {
          const decided = conditionsOf(object).filter(({ type }) => DECISIONS.includes(type));
          const others = conditionsOf(old).filter(({ type }) => !DECISIONS.includes(type));
          object.spec = structuredClone(old.spec);
          object.status = { ...structuredClone(old.status), conditions: stamp([...others, ...decided], old, context) };
          await checkSigner(object, context, 'approve');
        },
        validateUpdate: validateDecision,
      },
    },
  });
}

const isFailure = ({ type }: CertificateSigningRequestCondition) => type === 'Failed';
const conditionsOf = ({ status }: Request) => status?.conditions ?? [];

/** Times of conditions are the server's to fill in. */
function stamp(
  conditions: readonly CertificateSigningRequestCondition[],
  old: Request,
  { nowMs }: StrategyContext,
): CertificateSigningRequestCondition[] {
  const now = timestamp(nowMs);
  return conditions.map((condition) => {
    const before = conditionsOf(old).find(({ type }) => type === condition.type);
    return {
      ...condition,
      lastUpdateTime: condition.lastUpdateTime ?? now,
      lastTransitionTime: condition.lastTransitionTime ?? before?.lastTransitionTime ?? now,
    };
  });
}

/** CertificateSubjectRestriction: a certificate that may all is made by the authority's owner, not by a request. */
async function refusePowerfulSubject({ metadata, spec }: Request): Promise<void> {
  if (spec.signerName !== CLIENT_SIGNER) return;
  const asked = await parse(spec.request).catch(() => undefined);
  if (asked?.organizations.includes('system:masters'))
    throw refuse(NAMES, metadata.name ?? '', `use of ${CLIENT_SIGNER} signer with system:masters group is not allowed`);
}

const parse = (base64: string) => parseCertificateRequest(Buffer.from(base64, 'base64').toString());

function validateRequest({ spec }: Request): FieldError[] {
  const errors: FieldError[] = [];
  const pem = Buffer.from(spec.request ?? '', 'base64').toString();
  if (!spec.request) errors.push(required('spec.request'));
  else if (!/-----BEGIN (NEW )?CERTIFICATE REQUEST-----/.test(pem))
    errors.push(invalid('spec.request', spec.request, 'PEM block type must be CERTIFICATE REQUEST'));
  const usages = spec.usages ?? [];
  if (usages.length === 0) errors.push(required('spec.usages'));
  for (const [index, usage] of usages.entries()) {
    if (!USAGES.includes(usage)) errors.push(notSupported(`spec.usages[${index}]`, usage, USAGES));
    else if (usages.indexOf(usage) < index) errors.push(duplicate(`spec.usages[${index}]`, usage));
  }
  errors.push(...validateSignerName(spec.signerName));
  const seconds = spec.expirationSeconds;
  if (seconds !== undefined && seconds < LEAST_SECONDS)
    errors.push(
      invalid(
        'spec.expirationSeconds',
        seconds,
        `may not specify a duration less than ${LEAST_SECONDS} seconds (10 minutes)`,
      ),
    );
  return errors;
}

function validateSignerName(name: string | undefined): FieldError[] {
  if (!name) return [required('spec.signerName')];
  if (name === 'kubernetes.io/legacy-unknown')
    return [invalid('spec.signerName', name, 'the legacy signerName is not allowed via this API version')];
  const [domain, path, ...more] = name.split('/');
  const isWhole = more.length === 0 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(domain ?? '') && domain?.includes('.');
  return isWhole && /^[a-z0-9]([-a-z0-9.:]*[a-z0-9])?$/.test(path ?? '')
    ? []
    : [
        invalid(
          'spec.signerName',
          name,
          'must be a fully qualified domain and path of the form "example.com/signer-name"',
        ),
      ];
}

function validateDecision(object: Request, old: Request): FieldError[] {
  const field = 'status.conditions';
  const types = conditionsOf(object).map(({ type }) => type);
  const errors = validateConditions(object);
  if (types.includes('Approved') && types.includes('Denied'))
    errors.push(invalid(field, types, 'Approved and Denied conditions are mutually exclusive'));
  for (const { type } of conditionsOf(old))
    if (DECISIONS.includes(type) && !types.includes(type))
      errors.push(forbidden(field, `updates may not remove a condition of type ${JSON.stringify(type)}`));
  return errors;
}

function validateIssued(object: Request, old: Request): FieldError[] {
  const errors = validateConditions(object);
  const [before, now] = [old.status?.certificate, object.status?.certificate];
  if (before && now !== before)
    errors.push(
      invalid(
        'status.certificate',
        '<certificate data>',
        'updates may not set certificate content if existing certificate content is set',
      ),
    );
  if (now && !/^\s*-----BEGIN CERTIFICATE-----/.test(Buffer.from(now, 'base64').toString()))
    errors.push(invalid('status.certificate', '<certificate data>', 'must contain at least one CERTIFICATE PEM block'));
  return errors;
}

function validateConditions(object: Request): FieldError[] {
  return conditionsOf(object).flatMap(({ type, status }, index) => {
    const at = `status.conditions[${index}]`;
    const errors = type ? [] : [required(`${at}.type`)];
    if (conditionsOf(object).findIndex((one) => one.type === type) < index) errors.push(duplicate(`${at}.type`, type));
    // To take a decision back is to ask anew.
    if ((DECISIONS.includes(type) || type === 'Failed') && status !== 'True')
      errors.push(notSupported(`${at}.status`, status, ['True']));
    return errors;
  });
}

/** `Approved,Issued` and the like, as `kubectl get csr` shows it. */
function describeState(object: Request): string {
  const types = conditionsOf(object).map(({ type }) => type);
  const state = types.includes('Denied') ? 'Denied' : types.includes('Approved') ? 'Approved' : 'Pending';
  if (types.includes('Failed')) return `${state},Failed`;
  return object.status?.certificate ? `${state},Issued` : state;
}
