/**
 * transform-organization: a row of the legacy stream `organizations` becomes an Organization.
 *
 * An example of a transformer, and the same as migration_assets/mappings/organization.py: the tests hold both against
 * each other. It is pure: it asks nobody, writes nothing, and never guesses. It answers with a resource, or with an
 * OperationOutcome that says why the row waits for somebody, or is left out.
 */
import type { BotEvent, MedplumClient } from '@medplum/core';
import type { CodeableConcept, OperationOutcome, Organization } from '@medplum/fhirtypes';
import { identifier, present, Quarantined, reference, refusal, SOURCE } from './legacy';

interface Row {
  organization_id: string;
  name?: string | null;
  type_code?: string | null;
  phone?: string | null;
  address_line?: string | null;
  city?: string | null;
  state?: string | null;
  postal_code?: string | null;
  parent_id?: string | null;
}

const TYPES = 'http://terminology.hl7.org/CodeSystem/organization-type';
/** Local code: its name, and what it is in the standard's words, where there are any. */
const CONCEPTS: Record<string, { display: string; code?: string; standard?: string }> = {
  clinic: { display: 'Clinic', code: 'prov', standard: 'Healthcare Provider' },
  dept: { display: 'Department', code: 'dept', standard: 'Hospital Department' },
  hospital: { display: 'Hospital', code: 'prov', standard: 'Healthcare Provider' },
  lab: { display: 'Laboratory' },
};

export async function handler(
  _medplum: MedplumClient,
  { input }: BotEvent<Row>
): Promise<Organization | OperationOutcome> {
  try {
    return organization(input);
  } catch (error) {
    if (error instanceof Quarantined) {
      return refusal(error);
    }
    throw error;
  }
}

function organization(row: Row): Organization {
  const home = present({
    line: row.address_line ? [row.address_line] : [],
    city: row.city,
    state: row.state,
    postalCode: row.postal_code,
  });
  return {
    resourceType: 'Organization',
    ...present({
      meta: { source: `${SOURCE}/organizations` },
      identifier: [identifier('Organization', row.organization_id, 'organization_id')],
      type: row.type_code ? [concept(row.type_code)] : [],
      name: row.name,
      telecom: row.phone ? [{ system: 'phone' as const, value: row.phone }] : [],
      address: Object.keys(home).length > 0 ? [home] : [],
      partOf: row.parent_id ? reference<Organization>('Organization', row.parent_id, 'parent_id') : undefined,
    }),
  };
}

/** The local coding always, the standard one where there is one. */
function concept(code: string): CodeableConcept {
  const known = Object.hasOwn(CONCEPTS, code) ? CONCEPTS[code] : undefined;
  if (known === undefined) {
    throw new Quarantined('unmapped-code', 'type_code');
  }
  const local = { system: `${SOURCE}/organizationTypeId`, code, display: known.display };
  const standard = known.code ? [present({ system: TYPES, code: known.code, display: known.standard })] : [];
  return { coding: [local, ...standard] };
}
