/**
 * FHIR search over the store, with the limits and links of contract section 11.
 *
 * By identifier it uses the index; everything else is a scan, which is fine for a demo's tens of thousands.
 * Parsing a search is @medplum/core's, what it costs is repository.mjs'.
 */
import {
  badRequest,
  evalFhirPath,
  formatSearchQuery,
  getDataType,
  globalSchema,
  matchesSearchRequest,
  splitSearchOnComma,
  subsetResource,
  validateResourceType,
} from '@medplum/core';
import { notInSandbox, refuse } from './outcomes.mjs';

const DEFAULT_COUNT = 20;
const MAX_COUNT = 1000;
const MAX_OFFSET = 10_000;
/** Below this page size the real server does not trust its cursor. */
const MIN_CURSOR_COUNT = 20;
/** Search parameters every type has. */
const COMMON = new Set(['_id', '_lastUpdated', '_tag', '_source', '_profile', '_deleted', '_security', '_compartment']);
const INSTANT_TESTS = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
};

/** Answers a parsed search request with a searchset Bundle. */
export function search(store, request, fhirUrl) {
  const types = request.types ?? [request.resourceType];
  types.forEach(validateResourceType);
  (request.filters ?? []).forEach((filter) => refuseUnknown(request, filter));
  const page = { ...request, count: Math.min(request.count ?? DEFAULT_COUNT, MAX_COUNT) };
  const offset = request.offset ?? 0;
  if (offset > MAX_OFFSET) {
    refuse(badRequest(`Search offset exceeds maximum (got ${offset}, max ${MAX_OFFSET})`));
  }
  const matches = types.flatMap((type) => matching(store, { ...page, resourceType: type }));
  sort(matches, request.sortRules ?? []);
  const found = afterCursor(matches, request.cursor);
  const shown = page.count > 0 ? found.slice(offset, offset + page.count) : [];
  const entry = shown.map((resource) => ({
    fullUrl: `${fhirUrl}${resource.resourceType}/${resource.id}`,
    search: { mode: 'match' },
    resource: shape(resource, request),
  }));
  return {
    resourceType: 'Bundle',
    type: 'searchset',
    entry: entry.length > 0 ? entry : undefined,
    total: total(request, matches),
    link: links(page, shown, found[offset + page.count], fhirUrl),
  };
}

function total(request, matches) {
  if (!request.total || request.total === 'none') {
    return undefined;
  }
  // Counting several types at once answers 1 on the real server too (contract, section 11): never rely on it.
  return request.types ? Math.min(1, matches.length) : matches.length;
}

function refuseUnknown(request, { code, operator }) {
  if (code.startsWith('_has')) {
    const whole = code.split(':').length === 4;
    refuse(whole ? notInSandbox('search by _has') : badRequest(`Invalid search chain: ${code}`));
  }
  const [head, ...chain] = code.split(/[.:]/);
  const type = request.resourceType;
  const known = COMMON.has(head) || request.types || globalSchema.types[type]?.searchParams?.[head];
  if (!known) {
    const text = chain.length > 0 ? `Invalid search parameter in chain: ${type}?${head}` : `Unknown search parameter: ${head}`;
    refuse(badRequest(text));
  }
  if (code.split('.').length > 2) {
    refuse(notInSandbox('search chains of more than one step'));
  }
  if (operator === 'in' || operator === 'not-in') {
    refuse(badRequest(`Invalid modifier :${operator} for ${type}-${code}`));
  }
}

function matching(store, request) {
  const filters = request.filters ?? [];
  const type = request.resourceType;
  if (filters.some(({ code, value }) => code === '_deleted' && value === 'true')) {
    // The real server blanks a deleted row's search columns: it is found by nothing else.
    return filters.length > 1 ? [] : [...store.deleted(type)].map((version) => tombstone(type, version));
  }
  const byIdentifier = filters.find(({ code, operator }) => code === 'identifier' && operator === 'eq');
  const candidates = byIdentifier ? identified(store, type, byIdentifier.value) : [...store.live(type)];
  const others = filters.filter((filter) => filter !== byIdentifier);
  const tests = others.map((filter) => (filter.code.includes('.') ? chainTest(store, filter, type) : test(filter, type)));
  return candidates.filter((resource) => tests.every((passes) => passes(resource)));
}

function tombstone(resourceType, { id, lastUpdated }) {
  return { resourceType, id, meta: { lastUpdated } };
}

function identified(store, type, value) {
  const tokens = splitSearchOnComma(value).map((token) => token.trim());
  return [...new Set(tokens.flatMap((token) => store.withIdentifier(type, token)))];
}

/** A predicate for one filter; core's own matcher where its answer is the real server's. */
function test(filter, resourceType) {
  const { code, operator, value } = filter;
  if (code === '_id') {
    const ids = new Set(splitSearchOnComma(value));
    return (resource) => ids.has(resource.id);
  }
  if (code === '_lastUpdated') {
    // To the millisecond, where core's matcher compares periods.
    const instant = Date.parse(value);
    const compare = INSTANT_TESTS[operator] ?? (() => false);
    return (resource) => compare(Date.parse(resource.meta.lastUpdated), instant);
  }
  if (code === '_source') {
    return (resource) => operator === 'eq' && splitSearchOnComma(value).includes(resource.meta.source);
  }
  if (operator === 'contains' && globalSchema.types[resourceType].searchParams[code]?.type === 'token') {
    return () => false; // observed: 200 and nothing, whatever the value
  }
  if (operator === 'identifier') {
    return (resource) => hasLogicalReference(resource, code, value);
  }
  const request = { resourceType, filters: [filter] };
  return (resource) => matchesSearchRequest(resource, request);
}

/** `subject:identifier=system|value`: finds references that were stored as identifiers, unresolved. */
function hasLogicalReference(resource, code, value) {
  const { expression } = globalSchema.types[resource.resourceType].searchParams[code];
  const tokens = new Set(splitSearchOnComma(value));
  return evalFhirPath(expression, resource).some(({ identifier }) => {
    return identifier && (tokens.has(`${identifier.system ?? ''}|${identifier.value}`) || tokens.has(identifier.value));
  });
}

/** `patient.identifier=…` or `subject:Patient.identifier=…`: what refers to a resource that the rest would find. */
function chainTest(store, filter, resourceType) {
  const [head, code] = filter.code.split('.');
  const [parameter, targetType] = head.split(':');
  const { expression } = globalSchema.types[resourceType].searchParams[parameter];
  const found = new Map(); // type -> ids of possible targets, searched once
  return (resource) =>
    evalFhirPath(expression, resource).some(({ reference }) => {
      const [type, id] = String(reference).split('/');
      if (targetType ? type !== targetType : !globalSchema.types[type]) {
        return false;
      }
      if (!found.has(type)) {
        const targets = matching(store, { resourceType: type, filters: [{ ...filter, code }] });
        found.set(type, new Set(targets.map((target) => target.id)));
      }
      return found.get(type).has(id);
    });
}

function sort(resources, rules) {
  // From the last rule to the first: Array.sort is stable.
  for (const { code, descending } of [...rules].reverse()) {
    const keys = new Map(resources.map((resource) => [resource, sortKey(resource, code)]));
    const direction = descending ? -1 : 1;
    resources.sort((a, b) => direction * (keys.get(a) < keys.get(b) ? -1 : Number(keys.get(a) > keys.get(b))));
  }
}

function sortKey(resource, code) {
  if (code === '_id') {
    return resource.id;
  }
  if (code === '_lastUpdated') {
    return resource.meta.lastUpdated;
  }
  const expression = globalSchema.types[resource.resourceType]?.searchParams?.[code]?.expression;
  return expression ? JSON.stringify(evalFhirPath(expression, resource)) : '';
}

/** `2-<ms>[-<id>,<id>…]`: from this instant on, without the ids of it that were shown already. */
function afterCursor(sorted, cursor) {
  if (cursor === undefined) {
    return sorted;
  }
  const [, version, ms, shown = ''] = /^(\d+)-(\d+)(?:-(.*))?$/.exec(cursor) ?? [];
  if (version !== '2') {
    refuse(badRequest('Invalid cursor'));
  }
  const excluded = new Set(shown.split(','));
  return sorted.filter(({ id, meta }) => Date.parse(meta.lastUpdated) >= Number(ms) && !excluded.has(id));
}

function links(page, shown, next, fhirUrl) {
  const { offset = 0, count, cursor } = page;
  const path = page.types ? 'MultipleTypes' : page.resourceType;
  const link = (relation, change) => ({
    relation,
    url: `${fhirUrl}${path}${formatSearchQuery({ ...page, ...change })}`,
  });
  const result = [link('self', {})];
  if (shown.length > 0) {
    result.push(link('first', { offset: undefined, cursor: undefined }));
    const byCursor = sortedForCursor(page) && (cursor !== undefined || offset === 0);
    if (next && byCursor) {
      result.push(link('next', { cursor: cursorTo(next, shown, cursor), offset: undefined }));
    } else if (next) {
      result.push(link('next', { offset: offset + count }));
    }
    if (offset > 0) {
      result.push(link('previous', { offset: Math.max(0, offset - count) }));
    }
  }
  return result;
}

function sortedForCursor({ sortRules, count }) {
  const [rule, ...others] = sortRules ?? [];
  return rule?.code === '_lastUpdated' && !rule.descending && others.length === 0 && count >= MIN_CURSOR_COUNT;
}

function cursorTo(next, shown, cursor) {
  const instant = next.meta.lastUpdated;
  const sameInstant = shown.filter(({ meta }) => meta.lastUpdated === instant).map(({ id }) => id);
  const ms = String(Date.parse(instant));
  // A page-full of one instant: what earlier pages showed of it must stay excluded. (The real server answers 500.)
  const [, , earlierMs, earlier = ''] = /^(\d+)-(\d+)(?:-(.*))?$/.exec(cursor ?? '') ?? [];
  const excluded = [...(earlierMs === ms && earlier ? earlier.split(',') : []), ...sameInstant];
  return ['2', ms, ...(excluded.length > 0 ? [excluded.join(',')] : [])].join('-');
}

function shape(resource, { fields, summary }) {
  if (fields) {
    return subsetResource({ ...resource }, fields);
  }
  if (summary === 'true') {
    return subsetResource({ ...resource }, [...(getDataType(resource.resourceType).summaryProperties ?? [])]);
  }
  return resource;
}
