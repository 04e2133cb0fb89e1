/**
 * The sandbox's database: every version of every resource, an index by identifier, transactions.
 *
 * Stored resources are shared with everybody who reads them: nobody may change one. What FHIR makes of a write
 * (validation, references, unchanged or not) is decided in repository.mjs; this room only remembers.
 */

/** Keys one identifier is found by: `system|value`, the value under any system, and the system alone. */
function keysOf(resource) {
  const identifiers = [resource.identifier ?? []].flat();
  return identifiers
    .filter((identifier) => identifier?.value)
    .flatMap(({ system = '', value }) => {
      // The real server trims both what it indexes and what it is asked (contract, section 2).
      const trimmed = String(value).trim();
      return [`${system}|${trimmed}`, ANY_SYSTEM + trimmed, `${system}|`];
    });
}
/** Cannot open a key of the form `system|value`: NUL is refused in every string. */
const ANY_SYSTEM = '\0';

export class Store {
  /** type -> id -> versions, oldest first; a version without `resource` is a tombstone. */
  #types = new Map();
  /** type -> key -> ids */
  #index = new Map();
  /** Changes of the open transaction, oldest first; undefined when none is open. */
  #open;
  #journal;
  /** What was committed since the start; what was rolled back does not count. */
  committed = { versions: 0, deletes: 0 };

  constructor(journal) {
    this.#journal = journal;
    for (const changes of journal.commits()) {
      changes.forEach((change) => this.#apply(change));
    }
  }

  /** The live resource, or undefined when it never existed or was deleted. */
  get(type, id) {
    return this.versions(type, id)?.at(-1)?.resource;
  }

  /** Every version, oldest first; undefined when the resource never existed. */
  versions(type, id) {
    return this.#types.get(type)?.get(id);
  }

  *live(type) {
    for (const versions of this.#types.get(type)?.values() ?? []) {
      const { resource } = versions.at(-1);
      if (resource) {
        yield resource;
      }
    }
  }

  *deleted(type) {
    for (const versions of this.#types.get(type)?.values() ?? []) {
      if (!versions.at(-1).resource) {
        yield versions.at(-1);
      }
    }
  }

  /** Live resources a token such as `system|value`, `|value`, `system|` or `value` names. Never scans. */
  withIdentifier(type, token) {
    const key = token.includes('|') ? token : ANY_SYSTEM + token;
    return [...(this.#index.get(type)?.get(key) ?? [])].map((id) => this.get(type, id));
  }

  put(resource) {
    this.#change({ put: resource });
  }

  delete(type, id, versionId, lastUpdated) {
    this.#change({ delete: { type, id, versionId, lastUpdated } });
  }

  /** Live resources per type. */
  counts() {
    const counts = [...this.#types].map(([type, ids]) => {
      const live = [...ids.values()].filter((versions) => versions.at(-1).resource).length;
      return [type, live];
    });
    return Object.fromEntries(counts.filter(([, live]) => live > 0).sort());
  }

  /**
   * All or nothing, in memory and on disk: one journal line. A transaction inside another is a savepoint of it.
   * Requests are served one at a time (server.mjs), so nobody else ever sees an open transaction.
   */
  async transaction(work) {
    const outermost = this.#open === undefined;
    this.#open ??= [];
    const savepoint = this.#open.length;
    try {
      const result = await work();
      if (outermost && this.#open.length > 0) {
        this.#commit(this.#open);
      }
      return result;
    } catch (error) {
      for (const change of this.#open.splice(savepoint).reverse()) {
        this.#revert(change);
      }
      throw error;
    } finally {
      if (outermost) {
        this.#open = undefined;
      }
    }
  }

  /** Forgets everything, on disk too. */
  clear() {
    this.#types.clear();
    this.#index.clear();
    this.#journal.clear();
  }

  close() {
    this.#journal.close();
  }

  #change(change) {
    if (this.#open) {
      this.#open.push(change);
    } else {
      this.#commit([change]);
    }
    this.#apply(change);
  }

  #commit(changes) {
    this.#journal.append(changes);
    const puts = changes.filter(({ put }) => put).length;
    this.committed.versions += puts;
    this.committed.deletes += changes.length - puts;
  }

  #apply(change) {
    const { type, id } = identityOf(change);
    const ids = entry(this.#types, type, () => new Map());
    const versions = entry(ids, id, () => []);
    this.#unindex(versions.at(-1)?.resource);
    versions.push(versionOf(change));
    this.#reindex(change.put);
  }

  #revert(change) {
    const { type, id } = identityOf(change);
    const versions = this.versions(type, id);
    this.#unindex(versions.pop().resource);
    this.#reindex(versions.at(-1)?.resource);
    if (versions.length === 0) {
      this.#types.get(type).delete(id);
    }
  }

  #reindex(resource) {
    if (resource) {
      const index = entry(this.#index, resource.resourceType, () => new Map());
      keysOf(resource).forEach((key) => entry(index, key, () => new Set()).add(resource.id));
    }
  }

  #unindex(resource) {
    if (resource) {
      const index = this.#index.get(resource.resourceType);
      for (const key of keysOf(resource)) {
        index.get(key)?.delete(resource.id);
        if (index.get(key)?.size === 0) {
          index.delete(key);
        }
      }
    }
  }
}

function identityOf(change) {
  return change.put ? { type: change.put.resourceType, id: change.put.id } : change.delete;
}

function versionOf(change) {
  const { put, delete: gone } = change;
  return put
    ? { id: put.id, versionId: put.meta.versionId, lastUpdated: put.meta.lastUpdated, resource: put }
    : { id: gone.id, versionId: gone.versionId, lastUpdated: gone.lastUpdated };
}

function entry(map, key, make) {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
