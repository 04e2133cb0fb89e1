import { isOperationOutcome } from '@medplum/core';
import { MockClient } from '@medplum/mock';
import { expect, test } from 'vitest';
import { eventOf } from './fakes';
import { reference, skip } from './legacy';
import { handler } from './transform-organization';

const medplum = new MockClient();
const made = (row: object) => handler(medplum, eventOf(row as never));

test('a row becomes a resource with its identifier and references', async () => {
  const organization = await made({
    organization_id: 'ORG1',
    name: 'Lakeside',
    type_code: 'dept',
    phone: '',
    city: 'Springfield',
    parent_id: 'ORG0',
  });
  expect(organization).toMatchObject({
    identifier: [{ system: 'http://your-source-system.com/organizationId', value: 'ORG1' }],
    partOf: { reference: 'Organization?identifier=http://your-source-system.com/organizationId|ORG0' },
  });
  expect(organization).not.toHaveProperty('telecom');
  const stored = await medplum.createResource({ ...organization, partOf: undefined } as never);
  expect(stored).toHaveProperty('id');
});

test('what would have to be guessed is refused by reason and field, never by value', async () => {
  const unmapped = await made({ organization_id: 'ORG1', type_code: 'Kanarienvogel' });
  expect(isOperationOutcome(unmapped)).toBe(true);
  expect(unmapped).toMatchObject({
    issue: [{ severity: 'error', details: { coding: [{ code: 'unmapped-code' }] }, expression: ['type_code'] }],
  });
  expect(JSON.stringify(unmapped)).not.toContain('Kanarienvogel');
  expect(await made({ organization_id: ' ORG1' })).toMatchObject({ issue: [{ expression: ['organization_id'] }] });
});

test('a reference is found again whatever the key holds', () => {
  const { reference: text } = reference('Patient', 'a,b\\c d|é', 'patient_id');
  expect(text).toBe('Patient?identifier=http://your-source-system.com/patientId|a%5C%2Cb%5C%5Cc%20d|%C3%A9');
});

test('a row left out on purpose is told from one that failed', () => {
  expect(skip('test-record')).toMatchObject({ issue: [{ severity: 'information' }] });
});
