/** Ways to refuse that @medplum/core has no name for. What is refused, and when, stands where it is refused. */
import { OperationOutcomeError } from '@medplum/core';

/** Throws an outcome as the router expects to catch it. */
export function refuse(outcome) {
  throw new OperationOutcomeError(outcome);
}

/**
 * Something the real server does and the sandbox does not: said loudly (HTTP 400), because an empty answer would be
 * believed.
 */
export function notInSandbox(what) {
  const text = `The sandbox does not implement ${what}`;
  return {
    resourceType: 'OperationOutcome',
    issue: [{ severity: 'error', code: 'not-supported', details: { text } }],
  };
}
