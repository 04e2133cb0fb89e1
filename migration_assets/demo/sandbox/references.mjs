/**
 * Conditional references (`Patient?identifier=system|value`) become literal ones before a write (contract, section 5).
 *
 * Urn references inside a bundle are the router's own work; whether a literal reference points anywhere is nobody's.
 */
import { badRequest, crawlTypedValueAsync, createReference, parseSearchRequest, toTypedValue } from '@medplum/core';
import { refuse } from './outcomes.mjs';

const CONDITIONAL = /"reference":"[^"]*\?/;

/** True when the resource's JSON holds a conditional reference: spares most writes the walk below. */
export function hasConditionalReferences(json) {
  return CONDITIONAL.test(json);
}

/** Replaces each conditional reference in place; `find` runs a search request and answers with resources. */
export async function resolveReferences(resource, find) {
  await crawlTypedValueAsync(
    toTypedValue(resource),
    {
      async visitPropertyAsync(parent, key, path, value) {
        const isArray = Array.isArray(value);
        if ((isArray ? value[0]?.type : value.type) !== 'Reference') {
          return;
        }
        if (!isArray) {
          parent.value[key] = await resolved(value.value, path, find);
          return;
        }
        for (const [index, item] of value.entries()) {
          parent.value[key][index] = await resolved(item.value, `${path}[${index}]`, find);
        }
      },
    },
    { skipMissingProperties: true }
  );
}

async function resolved(reference, path, find) {
  if (typeof reference?.reference !== 'string' || !reference.reference.includes('?')) {
    return reference;
  }
  // Two are enough to know that it is not one.
  const matches = await find({ ...parseSearchRequest(reference.reference), count: 2, sortRules: undefined });
  if (matches.length !== 1) {
    const problem = matches.length > 1 ? 'matched multiple' : 'did not match any';
    refuse(badRequest(`Conditional reference '${reference.reference}' ${problem} resources`, path));
  }
  // Reference and the target's current name, nothing of what was given: a renamed target makes a new version.
  return createReference(matches[0]);
}
