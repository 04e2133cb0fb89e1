/**
 * Raw content: Binary, and attachments that point at one (contract, section 12).
 *
 * Content is kept by version id, in the state folder when there is one. Downloading https attachments, as the real
 * server's worker does, is left out on purpose: a sandbox calls nobody.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const LINK_LIFETIME_S = 3600;
const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const SIGNED_URL = new RegExp(`"url":"https?://[^"/]+/storage/(${UUID})/${UUID}\\?[^"]*Signature=[^"]*"`, 'g');
const STORED_URL = new RegExp(`"url":"(Binary/(${UUID}))"`, 'g');

/** In a resource's JSON, turns signed links back into what is stored: a re-sent resource must be unchanged. */
export function storedAttachments(json) {
  return json.includes('/storage/') ? json.replaceAll(SIGNED_URL, '"url":"Binary/$1"') : json;
}

export class Binaries {
  #memory = new Map();
  #key = randomBytes(32);
  #folder;

  constructor(stateFolder) {
    if (stateFolder) {
      this.#folder = path.join(stateFolder, 'binaries');
      fs.mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    }
  }

  put(versionId, content) {
    if (this.#folder) {
      fs.writeFileSync(path.join(this.#folder, versionId), content, { mode: 0o600 });
    } else {
      this.#memory.set(versionId, content);
    }
  }

  get(versionId) {
    return this.#folder ? fs.readFileSync(path.join(this.#folder, versionId)) : this.#memory.get(versionId);
  }

  clear() {
    this.#memory.clear();
    if (this.#folder) {
      fs.readdirSync(this.#folder).forEach((name) => fs.rmSync(path.join(this.#folder, name)));
    }
  }

  /** A link that works for an hour without a token. */
  signedUrl(baseUrl, { id, meta }) {
    const expires = Math.floor(Date.now() / 1000) + LINK_LIFETIME_S;
    const place = `${id}/${meta.versionId}`;
    return `${baseUrl}storage/${place}?Expires=${expires}&Signature=${this.#signature(place, expires)}`;
  }

  /** True when the link was made by this process, for this content, less than an hour ago. */
  isValid(place, query) {
    const expires = Number(query.get('Expires'));
    const given = Buffer.from(query.get('Signature') ?? '');
    const wanted = Buffer.from(this.#signature(place, expires));
    return expires * 1000 > Date.now() && given.length === wanted.length && timingSafeEqual(given, wanted);
  }

  /** In an answer's JSON, turns `Binary/<id>` attachments into signed links. */
  signAttachments(json, baseUrl, store) {
    if (!json.includes('"url":"Binary/')) {
      return json;
    }
    return json.replaceAll(STORED_URL, (whole, _reference, id) => {
      const binary = store.get('Binary', id);
      return binary ? `"url":${JSON.stringify(this.signedUrl(baseUrl, binary))}` : whole;
    });
  }

  #signature(place, expires) {
    return createHmac('sha256', this.#key).update(`${place}?${expires}`).digest('base64url');
  }
}
