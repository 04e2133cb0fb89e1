/**
 * What the FHIR router calls: reads, writes and searches as a Medplum server does them for an ordinary client.
 *
 * One instance per request, all over one store. Each operation is charged first, as on the real server: a refused or
 * invalid write costs as much as a good one. HTTP, tokens and bundles are not here.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  allOk,
  badRequest,
  deepEquals,
  forbidden,
  generateId,
  gone,
  isUUID,
  normalizeOperationOutcome,
  notFound,
  preconditionFailed,
  stringify,
  validateResource,
  validateResourceType,
} from '@medplum/core';
import { FhirRepository } from '@medplum/fhir-router';
import { applyPatch } from 'rfc6902';
import { storedAttachments } from './binary.mjs';
import { refuse } from './outcomes.mjs';
import { COST } from './quota.mjs';
import { hasConditionalReferences, resolveReferences } from './references.mjs';
import { search } from './search.mjs';

/** Of meta, an ordinary client may set tags, source, security, profile and account; the rest is the server's. */
const SERVER_META = ['versionId', 'lastUpdated', 'author', 'project', 'compartment', 'onBehalfOf', 'accounts'];
/** An ordinary client sees nothing of these. */
const FORBIDDEN_TYPES = new Set(['Project', 'ProjectMembership', 'User', 'Login']);
/** Identifiers a search looks up in the time of one: 1,000 took 155 ms, one took 3 (contract, section 11). */
const IDENTIFIERS_AT_ONCE = 20;

export class SandboxRepository extends FhirRepository {
  constructor({ store, binaries, account, statistics, fhirUrl, settings, misbehaviour }) {
    super();
    Object.assign(this, { store, binaries, account, statistics, fhirUrl, settings, misbehaviour });
  }

  /** Reader and writer are the same memory. */
  setMode() {}

  generateId() {
    return generateId();
  }

  async createResource(resource, options) {
    this.account.charge(COST.write);
    const id = options?.assignedId && resource.id ? resource.id : this.generateId();
    return this.#write({ ...resource, id }, undefined);
  }

  async updateResource(resource, options) {
    this.account.charge(COST.write);
    const { resourceType, id } = resource;
    if (!id) {
      refuse(badRequest('Missing id'));
    }
    if (!isUUID(id)) {
      refuse(badRequest('Invalid id'));
    }
    if (!this.store.versions(resourceType, id)) {
      refuse(notFound); // no client-assigned ids: only what once existed can be put, deleted or not
    }
    const existing = this.store.get(resourceType, id);
    if (options?.ifMatch && existing?.meta.versionId !== options.ifMatch) {
      refuse(preconditionFailed);
    }
    return this.#write(resource, existing);
  }

  async patchResource(resourceType, id, patch) {
    this.account.charge(COST.write);
    const existing = this.#live(resourceType, id);
    const patched = structuredClone(existing);
    let problems;
    try {
      problems = applyPatch(patched, patch).filter(Boolean);
    } catch (error) {
      refuse(normalizeOperationOutcome(error));
    }
    if (problems.length > 0) {
      refuse(badRequest(problems.map(({ message }) => message).join('\n')));
    }
    return this.#write(patched, existing);
  }

  async deleteResource(resourceType, id) {
    this.account.charge(COST.write);
    if (!this.store.versions(resourceType, id)) {
      refuse(notFound);
    }
    if (this.store.get(resourceType, id)) {
      this.store.delete(resourceType, id, this.generateId(), new Date().toISOString());
    }
  }

  async readResource(resourceType, id) {
    this.account.charge(COST.read);
    return this.#live(resourceType, id);
  }

  async readReference({ reference }) {
    const [resourceType, id, ...rest] = reference?.split('/') ?? [];
    if (!id || rest.length > 0) {
      refuse(badRequest('Invalid reference'));
    }
    return this.readResource(resourceType, id);
  }

  async readReferences(references) {
    return Promise.all(references.map((reference) => this.readReference(reference).catch((error) => error)));
  }

  async readVersion(resourceType, id, versionId) {
    this.account.charge(COST.read);
    const version = this.#versions(resourceType, id).find((candidate) => candidate.versionId === versionId);
    return version ? (version.resource ?? refuse(gone)) : refuse(notFound);
  }

  async readHistory(resourceType, id, { offset = 0, limit = 100 } = {}) {
    this.account.charge(COST.history);
    const versions = this.#versions(resourceType, id);
    const newestFirst = [...versions].reverse().slice(offset, offset + limit);
    return {
      resourceType: 'Bundle',
      type: 'history',
      entry: newestFirst.map((version) => this.#historyEntry(resourceType, version)),
      total: versions.length,
    };
  }

  async search(request) {
    this.account.charge(COST.search);
    this.#allow(request.resourceType);
    const identifiers = request.filters?.find(({ code }) => code === 'identifier')?.value.split(',').length ?? 1;
    await this.#takeTime(this.settings.search_ms * Math.ceil(identifiers / IDENTIFIERS_AT_ONCE));
    return search(this.store, request, this.fhirUrl);
  }

  async searchByReference(request, field, references) {
    const found = references.map(async (value) => {
      const filters = [...(request.filters ?? []), { code: field, operator: 'eq', value }];
      return [value, await this.searchResources({ ...request, filters })];
    });
    return Object.fromEntries(await Promise.all(found));
  }

  async withTransaction(work) {
    return this.store.transaction(() => work(undefined));
  }

  async #write(resource, existing) {
    const { resourceType } = resource;
    await this.#takeTime(this.settings.write_ms);
    if (resourceType) {
      validateResourceType(resourceType);
      this.#allow(resourceType);
    }
    if (hasConditionalReferences(JSON.stringify(resource))) {
      await resolveReferences(resource, (request) => this.searchResources(request));
    }
    if (this.settings.strict) {
      validateResource(resource);
    }
    const clean = JSON.parse(storedAttachments(stringify(resource))); // stringify drops '', [] and {}
    clean.meta = { ...clean.meta };
    SERVER_META.forEach((name) => delete clean.meta[name]);
    if (resourceType === 'Binary' && clean.data) {
      const content = Buffer.from(clean.data, 'base64');
      delete clean.data;
      return this.storeBinary(clean, content);
    }
    if (existing && this.#isUnchanged(clean, existing)) {
      this.statistics.unchanged += 1;
      return existing;
    }
    return this.#putVersion(clean);
  }

  /** A new version of a Binary and its bytes. Costs nothing: the real server does not charge for raw content. */
  storeBinary(resource, content) {
    const stored = this.#putVersion(resource);
    this.binaries.put(stored.meta.versionId, content);
    return stored;
  }

  #isUnchanged(clean, existing) {
    // Core leaves version, time and author out of the comparison, but not a meta that has nothing else.
    const { versionId, lastUpdated } = existing.meta;
    return deepEquals({ ...clean, meta: { ...clean.meta, versionId, lastUpdated } }, existing);
  }

  #putVersion(resource) {
    const meta = { ...resource.meta, versionId: this.generateId(), lastUpdated: new Date().toISOString() };
    const stored = { ...resource, meta };
    this.store.put(stored);
    return stored;
  }

  async #takeTime(milliseconds) {
    if (milliseconds > 0) {
      await pause(milliseconds);
    }
  }

  #allow(resourceType) {
    if (FORBIDDEN_TYPES.has(resourceType)) {
      refuse(forbidden);
    }
  }

  #live(resourceType, id) {
    const [latest] = this.#versions(resourceType, id).slice(-1);
    return latest.resource ?? refuse(gone);
  }

  #versions(resourceType, id) {
    validateResourceType(resourceType);
    this.#allow(resourceType);
    return this.store.versions(resourceType, id) ?? refuse(notFound);
  }

  #historyEntry(resourceType, { id, versionId, lastUpdated, resource }) {
    const request = { method: 'GET', url: `${resourceType}/${id}/_history/${versionId}` };
    const fullUrl = `${this.fhirUrl}${resourceType}/${id}`;
    if (resource) {
      return { fullUrl, request, response: { status: '200', outcome: allOk }, resource };
    }
    const text = `Deleted on ${new Date(lastUpdated)}`;
    const outcome = { ...gone, issue: [{ ...gone.issue[0], details: { text } }] };
    return { fullUrl, request, response: { status: '410', outcome } };
  }
}
