/**
 * Who may come in: client credentials, bearer tokens, HTTP Basic (contract, section 1).
 *
 * One client exists. Tokens live in memory only: after a restart everybody logs in again, as after a Redis flush on the
 * real server. Everything about wrong credentials answers 400 here and 401 on FHIR URLs, never anything more helpful.
 */
import { randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';

/** The sandbox's one project. */
const PROJECT_ID = '5a4d0b0c-5eed-4c11-9000-000000000001';
const MEMBERSHIP_ID = '5a4d0b0c-5eed-4c11-9000-000000000002';
const CLIENT_NAME = 'sandbox loader';

export class Auth {
  #tokens = new Map();

  constructor({ clientId, clientSecret, tokenLifetimeSeconds, baseUrl, now = Date.now }) {
    Object.assign(this, { clientId, clientSecret, tokenLifetimeSeconds, baseUrl, now });
  }

  /** Answers POST oauth2/token with [status, body]. `form` is undefined when the body was no form. */
  token(form, authorization) {
    if (!form) {
      return [400, 'Unsupported content type'];
    }
    if (form.grant_type !== 'client_credentials') {
      return [400, invalidRequest(form.grant_type ? 'Unsupported grant_type' : 'Missing grant_type')];
    }
    const [id, secret] = basicCredentials(authorization) ?? [form.client_id, form.client_secret];
    if (!id || !secret) {
      return [400, invalidRequest(id ? 'Missing client_secret' : 'Missing client_id')];
    }
    if (id !== this.clientId) {
      return [400, invalidRequest('Invalid client')];
    }
    if (!same(secret, this.clientSecret)) {
      return [400, invalidRequest('Invalid secret')];
    }
    return [200, this.#grant(form.scope ?? 'openid')];
  }

  /** True when the Authorization header opens FHIR URLs. `Bearer` and `Basic` are case-sensitive, as observed. */
  isAuthorized(authorization) {
    if (authorization?.startsWith('Bearer ')) {
      return this.#active(authorization.slice('Bearer '.length)) !== undefined;
    }
    const [id, secret] = basicCredentials(authorization) ?? [];
    return id === this.clientId && same(secret ?? '', this.clientSecret);
  }

  /** A token for a Bot: it runs as the one client that there is. */
  tokenOfBot() {
    return this.#grant('openid').access_token;
  }

  introspect(token) {
    const claims = this.#active(token);
    return claims ? { active: true, ...claims } : { active: false };
  }

  /** Revokes the one token that is shown. */
  logout(authorization) {
    this.#tokens.delete(authorization.slice('Bearer '.length));
  }

  /** GET auth/me: who am I. Shows strictMode and the client's own secret, but no features, as the real server does. */
  me(strictMode) {
    const profile = { reference: `ClientApplication/${this.clientId}`, display: CLIENT_NAME };
    return {
      project: { resourceType: 'Project', id: PROJECT_ID, name: 'sandbox', strictMode },
      membership: { resourceType: 'ProjectMembership', id: MEMBERSHIP_ID, user: profile, profile },
      profile: { resourceType: 'ClientApplication', id: this.clientId, name: CLIENT_NAME, secret: this.clientSecret },
      config: { resourceType: 'UserConfiguration' },
      accessPolicy: { resourceType: 'AccessPolicy', resource: [{ resourceType: '*' }] },
    };
  }

  #grant(scope) {
    const iat = Math.floor(this.now() / 1000);
    const exp = iat + this.tokenLifetimeSeconds;
    const claims = { iat, exp, iss: this.baseUrl, sub: this.clientId, client_id: this.clientId, scope };
    const token = tokenFor(claims);
    this.#forgetExpired(iat);
    this.#tokens.set(token, claims);
    return {
      token_type: 'Bearer',
      expires_in: this.tokenLifetimeSeconds,
      scope,
      id_token: tokenFor(claims),
      access_token: token,
      project: { reference: `Project/${PROJECT_ID}` },
      profile: { reference: `ClientApplication/${this.clientId}`, display: CLIENT_NAME },
      smart_style_url: `${this.baseUrl}fhir/R4/.well-known/smart-styles.json`,
      need_patient_banner: false,
    };
  }

  #active(token) {
    const claims = this.#tokens.get(token);
    return claims && claims.exp * 1000 > this.now() ? claims : undefined;
  }

  #forgetExpired(nowSeconds) {
    for (const [token, { exp }] of this.#tokens) {
      if (exp <= nowSeconds) {
        this.#tokens.delete(token);
      }
    }
  }
}

/** Looks like a JWT, because clients read `exp` from it; it is known by being on the list, not by its signature. */
function tokenFor(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signature = randomBytes(32).toString('base64url');
  return [part({ alg: 'ES256', typ: 'JWT' }), part({ login_id: randomUUID(), ...claims }), signature].join('.');
}

function basicCredentials(authorization) {
  if (!authorization?.startsWith('Basic ')) {
    return undefined;
  }
  const decoded = Buffer.from(authorization.slice('Basic '.length), 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  return [decoded.slice(0, colon), decoded.slice(colon + 1)];
}

function invalidRequest(description) {
  return { error: 'invalid_request', error_description: description };
}

function same(given, secret) {
  const [a, b] = [Buffer.from(given), Buffer.from(secret)];
  return a.length === b.length && timingSafeEqual(a, b);
}
